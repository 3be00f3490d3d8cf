/* SPDX-License-Identifier: BSD-3-Clause */
/* A new operation is one row and one file: the engine of this test is built with
 * invert_operation.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "op/opcodes.h"
#include "raw_ring.h"

#define BYTES ((size_t)1 << 20)

struct fixture {
	struct engine *engine;
	struct engine_account *account;
	struct engine_memory *regions;
	struct raw_ring ring;
	char *from, *to;
	uint32_t source, destination;
};

static int set_up(void **state)
{
	const struct engine_options options = {.workers = 2, .spin_us = 50};
	struct fixture *f = calloc(1, sizeof *f);

	*state = f;
	f->from = malloc(BYTES);
	f->to = calloc(1, BYTES);
	for (size_t i = 0; i < BYTES; i++)
		f->from[i] = (char)(i * 7);
	if (engine_new(&options, &f->engine) < 0 ||
	    engine_account_new(f->engine, &f->account) < 0 ||
	    engine_memory_new(f->engine, 2, &f->regions) < 0 ||
	    engine_region_add(f->regions, f->from, BYTES, false, &f->source) < 0 ||
	    engine_region_add(f->regions, f->to, BYTES, true, &f->destination) < 0)
		return -1;
	raw_ring_open(&f->ring, f->engine, f->account, f->regions, 8, 0);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	raw_ring_close(&f->ring, NULL);
	engine_memory_delete(f->regions);
	engine_account_delete(f->account);
	engine_delete(f->engine);
	free(f->from);
	free(f->to);
	free(f);
	return 0;
}

static struct vdm_descriptor inversion(const struct fixture *f, size_t length)
{
	return (struct vdm_descriptor){.opcode = OPCODE_INVERT,
				       .destination_region = f->destination,
				       .source_region = f->source,
				       .length = length};
}

static const struct vdm_completion *run(struct fixture *f, const struct vdm_descriptor *descriptor)
{
	raw_put(&f->ring, descriptor);
	raw_bell(&f->ring);
	const struct vdm_completion *completion = raw_get(&f->ring);

	assert_non_null(completion);
	return completion;
}

static void it_is_carried_out_small_or_in_pieces(void **state)
{
	static const size_t lengths[] = {1, 1000, BYTES};
	struct fixture *f = *state;

	for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++) {
		const struct vdm_descriptor d = inversion(f, lengths[n]);

		memset(f->to, 0, BYTES);
		const struct vdm_completion *completion = run(f, &d);

		assert_int_equal(completion->result, 0);
		assert_int_equal(completion->value, lengths[n]);
		for (size_t i = 0; i < BYTES; i++)
			assert_int_equal(f->to[i], i < lengths[n] ? (char)~f->from[i] : 0);
	}
}

static void its_facts_are_those_of_its_row(void **state)
{
	struct fixture *f = *state;
	struct vdm_descriptor d = inversion(f, 8);

	d.pattern = 1;
	assert_int_equal(run(f, &d)->result, -EINVAL);
	d = inversion(f, 8);
	d.destination_region = f->source; /* read-only */
	assert_int_equal(run(f, &d)->result, -EACCES);
	d = inversion(f, 8);
	d.source_offset = BYTES - 7;
	assert_int_equal(run(f, &d)->result, -EFAULT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(it_is_carried_out_small_or_in_pieces),
		TEST(its_facts_are_those_of_its_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
