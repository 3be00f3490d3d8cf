/* SPDX-License-Identifier: BSD-3-Clause */
/* What the library writes into a ring, entry by entry: client/ring_submit.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "puppet_daemon.h"

#define SIZE 4096

static struct puppet_daemon puppet;
static struct puppet_client own;

static int set_up(void **state)
{
	(void)state;
	puppet_start(&puppet);
	puppet_client_open(&own, &puppet, 0, 4 * SIZE);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	puppet_client_close(&own);
	puppet_stop(&puppet);
	return 0;
}

static struct vdm_sqe *entry(void)
{
	struct vdm_sqe *sqe = vdm_ring_get_sqe(own.ring);

	assert_non_null(sqe);
	return sqe;
}

static void submit(int entries)
{
	assert_int_equal(vdm_ring_submit(own.ring), entries);
}

static void expect_next(int32_t result, uint32_t operation)
{
	struct vdm_cqe *cqe;

	assert_int_equal(vdm_ring_peek_cqe(own.ring, &cqe), 0);
	assert_int_equal(cqe->result, result);
	assert_int_equal(cqe->operation, operation);
	vdm_ring_cqe_seen(own.ring, cqe);
}

static void expect_published(uint32_t position, struct vdm_descriptor want)
{
	const struct vdm_descriptor *got = puppet_descriptor(&puppet, position);

	assert_int_equal(got->opcode, want.opcode);
	assert_int_equal(got->priority, 0);
	assert_int_equal(got->flags, want.flags);
	assert_int_equal(got->destination_region, want.destination_region);
	assert_int_equal(got->source_region, want.source_region);
	assert_int_equal(got->reserved0, 0);
	assert_int_equal(got->destination_offset, want.destination_offset);
	assert_int_equal(got->source_offset, want.source_offset);
	assert_int_equal(got->length, want.length);
	assert_int_equal(got->pattern, want.pattern);
	assert_int_equal(got->reserved1, 0);
}

static void memory_is_named_by_region_and_offset(void **state)
{
	(void)state;
	vdm_prep_memcpy(entry(), own.memory + SIZE, own.memory + 3 * SIZE, 100, VDM_SQE_NO_CACHE);
	vdm_prep_memset(entry(), own.memory + 7, 255, 10, 0);
	vdm_prep_flush(entry(), own.memory, SIZE, 0);
	vdm_prep_nop(entry());
	submit(4);
	assert_int_equal(puppet_published(&puppet), 4);
	expect_published(0, (struct vdm_descriptor){.opcode = VDM_OPCODE_MEMCPY,
						    .flags = VDM_DESCRIPTOR_NO_CACHE,
						    .destination_region = 1,
						    .source_region = 1,
						    .destination_offset = SIZE,
						    .source_offset = 3 * SIZE,
						    .length = 100});
	expect_published(1, (struct vdm_descriptor){.opcode = VDM_OPCODE_MEMSET,
						    .destination_region = 1,
						    .destination_offset = 7,
						    .length = 10,
						    .pattern = 255});
	expect_published(2, (struct vdm_descriptor){.opcode = VDM_OPCODE_FLUSH});
	expect_published(3, (struct vdm_descriptor){.opcode = VDM_OPCODE_NOP});
}

/* The value of an entry is a memset's alone. */
static void a_pattern_is_published_only_where_it_means_something(void **state)
{
	(void)state;
	struct vdm_sqe *sqe = entry();

	vdm_prep_memcpy(sqe, own.memory + SIZE, own.memory, 100, 0);
	sqe->value = 300;
	submit(1);
	expect_published(0, (struct vdm_descriptor){.opcode = VDM_OPCODE_MEMCPY,
						    .destination_region = 1,
						    .source_region = 1,
						    .destination_offset = SIZE,
						    .length = 100});
	sqe = entry();
	vdm_prep_memset(sqe, own.memory, 0, 100, 0);
	sqe->value = 256;
	submit(1);
	assert_int_equal(puppet_published(&puppet), 1);
	expect_next(-EINVAL, 1);
}

static void what_is_not_all_in_regions_is_not_published(void **state)
{
	char outside[100] = "outside";

	(void)state;
	vdm_prep_memcpy(entry(), own.memory, outside, sizeof outside, 0);
	vdm_prep_memcpy(entry(), outside, own.memory, sizeof outside, 0);
	vdm_prep_memset(entry(), outside, 'x', sizeof outside, 0);
	submit(3);
	assert_int_equal(puppet_published(&puppet), 0);
	for (uint32_t i = 0; i < 3; i++)
		expect_next(0, i);
	assert_string_equal(own.memory, "outside");
	assert_int_equal(outside[99], 'x');
	/* nothing of these is left in the descriptor of the next one */
	vdm_prep_memset(entry(), own.memory, 1, 10, 0);
	submit(1);
	expect_published(0, (struct vdm_descriptor){.opcode = VDM_OPCODE_MEMSET,
						    .destination_region = 1,
						    .length = 10,
						    .pattern = 1});
}

static void operations_are_numbered_over_both_lanes(void **state)
{
	char outside[10];

	(void)state;
	puppet_client_submit_copy(&own, SIZE);
	vdm_prep_memset(entry(), outside, 0, sizeof outside, 0);
	submit(1);
	puppet_client_submit_copy(&own, SIZE);
	expect_next(0, 1);
	puppet_complete(&puppet, 1, -EFAULT, 0);
	puppet_complete(&puppet, 0, 0, 0);
	expect_next(-EFAULT, 2);
	expect_next(0, 0);
}

static void a_chain_is_published_as_a_whole_or_not_at_all(void **state)
{
	char outside[10];

	(void)state;
	vdm_prep_memset(entry(), own.memory, 1, 10, VDM_SQE_LINK);
	vdm_prep_memset(entry(), outside, 2, sizeof outside, 0);
	submit(2);
	assert_int_equal(puppet_published(&puppet), 0);
	expect_next(0, 0);
	expect_next(0, 1);
	vdm_prep_memset(entry(), own.memory, 1, 10, VDM_SQE_LINK);
	vdm_prep_memset(entry(), own.memory + SIZE, 2, 10, 0);
	submit(2);
	assert_int_equal(puppet_published(&puppet), 2);
	assert_int_equal(puppet_descriptor(&puppet, 0)->flags, VDM_DESCRIPTOR_LINK);
	assert_int_equal(puppet_descriptor(&puppet, 1)->flags, 0);
}

/* A full ring keeps entries back, and loses none when slots become free out of order. */
static void entries_wait_for_room(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 8; i++)
		puppet_client_submit_copy(&own, 100);
	assert_null(vdm_ring_get_sqe(own.ring));
	assert_int_equal(puppet_published(&puppet), 8);
	for (uint32_t lap = 0; lap < 3; lap++) {
		for (uint32_t i = 8; i > 0; i--)
			puppet_complete(&puppet, 8 * lap + i - 1, 0, 0);
		for (uint32_t i = 8; i > 0; i--)
			expect_next(0, 8 * lap + i - 1);
		for (uint32_t i = 0; i < 8; i++)
			puppet_client_submit_copy(&own, 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(memory_is_named_by_region_and_offset),
		TEST(a_pattern_is_published_only_where_it_means_something),
		TEST(what_is_not_all_in_regions_is_not_published),
		TEST(operations_are_numbered_over_both_lanes),
		TEST(a_chain_is_published_as_a_whole_or_not_at_all),
		TEST(entries_wait_for_room),
	};

	alarm(100);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
