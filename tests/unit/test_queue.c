/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <sys/mman.h>

#include "engine/parts.h"
#include "raw_ring.h"

#define BYTES 4096

struct fixture {
	struct engine *engine;
	struct engine_account *account;
	struct engine_memory *regions;
	struct raw_ring ring;
	uint32_t writable, readonly;
	char *memory, *constant;
};

static void start(struct fixture *f, unsigned workers, uint32_t spin_us, uint32_t entries,
		  uint32_t first)
{
	struct engine_options options = {
		.workers = workers, .spin_us = spin_us, .guard_faults = true};

	assert_int_equal(engine_new(&options, &f->engine), 0);
	assert_int_equal(engine_account_new(f->engine, &f->account), 0);
	assert_int_equal(engine_memory_new(f->engine, 8, &f->regions), 0);
	f->memory = calloc(1, BYTES);
	f->constant = malloc(BYTES);
	memset(f->constant, 'c', BYTES);
	assert_int_equal(engine_region_add(f->regions, f->memory, BYTES, true, &f->writable), 0);
	assert_int_equal(engine_region_add(f->regions, f->constant, BYTES, false, &f->readonly), 0);
	raw_ring_open(&f->ring, f->engine, f->account, f->regions, entries, first);
}

static void stop(struct fixture *f)
{
	raw_ring_close(&f->ring, NULL);
	engine_memory_delete(f->regions);
	engine_account_delete(f->account);
	engine_delete(f->engine);
	free(f->memory);
	free(f->constant);
}

static struct vdm_descriptor copy_of(const struct fixture *f, uint64_t n)
{
	return (struct vdm_descriptor){.opcode = VDM_OPCODE_MEMCPY,
				       .destination_region = f->writable,
				       .source_region = f->readonly,
				       .length = n,
				       .user_data = 0x1234567890abcdef};
}

static int result_of(struct fixture *f, const struct vdm_descriptor *descriptor)
{
	raw_put(&f->ring, descriptor);
	raw_bell(&f->ring);

	const struct vdm_completion *completion = raw_get(&f->ring);

	assert_non_null(completion);
	assert_true(completion->user_data == descriptor->user_data);
	assert_int_equal(completion->operation, f->ring.sq - 1);
	assert_int_equal(completion->flags, 0);
	return completion->result;
}

/* I1: the lines that one submission and one completion dirty, counted in the shared memory
 * itself. */
static void I1_one_operation_dirties_one_line_each_way(void **state)
{
	struct fixture f;
	size_t submission = vdm_submission_size(16), completion = vdm_completion_size(16);
	unsigned dirty = 0;

	(void)state;
	start(&f, 1, 1000000, 16, 0);
	struct vdm_descriptor d = copy_of(&f, 64);

	/* from now on it is polled: no announcement changes */
	assert_int_equal(result_of(&f, &d), 0);
	char *before_s = malloc(submission), *before_c = malloc(completion);

	memcpy(before_s, f.ring.submission, submission);
	memcpy(before_c, f.ring.completion, completion);
	assert_int_equal(result_of(&f, &d), 0);
	for (size_t i = 0; i < submission; i += VDM_CACHE_LINE)
		dirty += memcmp(before_s + i, (char *)f.ring.submission + i, VDM_CACHE_LINE) != 0;
	assert_int_equal(dirty, 1);
	dirty = 0;
	for (size_t i = 0; i < completion; i += VDM_CACHE_LINE)
		dirty += memcmp(before_c + i, (char *)f.ring.completion + i, VDM_CACHE_LINE) != 0;
	assert_int_equal(dirty, 1);
	free(before_s);
	free(before_c);
	stop(&f);
}

static void copies_moves_sets_and_flushes(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, 1, 50, 16, 0);
	struct vdm_descriptor d = copy_of(&f, 100);

	assert_int_equal(result_of(&f, &d), 0);
	assert_memory_equal(f.memory, f.constant, 100);
	assert_int_equal(f.memory[100], 0);

	d = (struct vdm_descriptor){.opcode = VDM_OPCODE_MEMSET,
				    .destination_region = f.writable,
				    .destination_offset = 10,
				    .length = 5,
				    .pattern = 'x'};
	assert_int_equal(result_of(&f, &d), 0);
	assert_memory_equal(f.memory, "ccccccccccxxxxxccccc", 20);

	d = (struct vdm_descriptor){.opcode = VDM_OPCODE_MEMMOVE,
				    .destination_region = f.writable,
				    .destination_offset = 1,
				    .source_region = f.writable,
				    .length = 14};
	assert_int_equal(result_of(&f, &d), 0);
	assert_memory_equal(f.memory, "cccccccccccxxxxccccc", 20);

	d = (struct vdm_descriptor){.opcode = VDM_OPCODE_FLUSH};
	assert_int_equal(result_of(&f, &d), 0);
	d.destination_region = f.writable;
	d.length = BYTES;
	assert_int_equal(result_of(&f, &d), 0);
	d = (struct vdm_descriptor){.opcode = VDM_OPCODE_NOP, .user_data = 7};
	assert_int_equal(result_of(&f, &d), 0);
	stop(&f);
}

/* I4: a bad descriptor fails alone; whatever follows goes on. */
static void I4_bad_descriptors_fail_alone(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, 1, 50, 16, 0);
	const struct vdm_descriptor good = copy_of(&f, 64);
	uint32_t w = f.writable, r = f.readonly;
	struct {
		struct vdm_descriptor descriptor;
		int error;
	} bad[] = {
		{{.opcode = VDM_OPCODE_COUNT}, -EINVAL},
		{{.opcode = 255}, -EINVAL},
		{{.opcode = VDM_OPCODE_NOP, .flags = 1 << 15}, -EINVAL},
		{{.opcode = VDM_OPCODE_NOP, .priority = 1}, -EINVAL},
		{{.opcode = VDM_OPCODE_NOP, .reserved0 = 1}, -EINVAL},
		{{.opcode = VDM_OPCODE_NOP, .reserved1 = 1}, -EINVAL},
		{{.opcode = VDM_OPCODE_NOP, .length = 1}, -EINVAL},
		{{.opcode = VDM_OPCODE_NOP, .pattern = 1}, -EINVAL},
		{{.opcode = VDM_OPCODE_MEMSET,
		  .destination_region = w,
		  .length = 1,
		  .pattern = 256},
		 -EINVAL},
		{{.opcode = VDM_OPCODE_MEMSET,
		  .destination_region = w,
		  .length = 1,
		  .source_offset = 1},
		 -EINVAL},
		{{.opcode = VDM_OPCODE_MEMSET,
		  .destination_region = w,
		  .length = 1,
		  .source_region = r},
		 -EINVAL},
		{{.opcode = VDM_OPCODE_FLUSH, .flags = VDM_DESCRIPTOR_DURABLE}, -EOPNOTSUPP},
		/* memory */
		{{.opcode = VDM_OPCODE_MEMSET, .length = 1}, -EFAULT},
		{{.opcode = VDM_OPCODE_MEMSET, .destination_region = r, .length = 1}, -EACCES},
		{{.opcode = VDM_OPCODE_MEMSET, .destination_region = w + 0x10000, .length = 1},
		 -EFAULT},
		{{.opcode = VDM_OPCODE_MEMSET, .destination_region = UINT32_MAX, .length = 1},
		 -EFAULT},
		{{.opcode = VDM_OPCODE_MEMSET,
		  .destination_region = (w & 0xffff0000) | 8,
		  .length = 1},
		 -EFAULT},
		{{.opcode = VDM_OPCODE_MEMSET,
		  .destination_region = (w & 0xffff0000) | 9,
		  .length = 1},
		 -EFAULT},
		{{.opcode = VDM_OPCODE_MEMSET, .destination_region = w, .length = BYTES + 1},
		 -EFAULT},
		{{.opcode = VDM_OPCODE_MEMSET,
		  .destination_region = w,
		  .destination_offset = BYTES,
		  .length = 1},
		 -EFAULT},
		{{.opcode = VDM_OPCODE_MEMSET,
		  .destination_region = w,
		  .destination_offset = 1,
		  .length = UINT64_MAX},
		 -EFAULT},
		{{.opcode = VDM_OPCODE_MEMSET,
		  .destination_region = w,
		  .destination_offset = UINT64_MAX,
		  .length = 1},
		 -EFAULT},
		{{.opcode = VDM_OPCODE_MEMSET,
		  .destination_region = w,
		  .destination_offset = UINT64_MAX - 10,
		  .length = 20},
		 -EFAULT},
		{{.opcode = VDM_OPCODE_MEMCPY, .destination_region = w, .length = 1}, -EFAULT},
		{{.opcode = VDM_OPCODE_MEMCPY,
		  .destination_region = w,
		  .source_region = r,
		  .source_offset = BYTES - 1,
		  .length = 2},
		 -EFAULT},
		{{.opcode = VDM_OPCODE_MEMMOVE,
		  .destination_region = w,
		  .source_region = r,
		  .source_offset = UINT64_MAX,
		  .length = 2},
		 -EFAULT},
	};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int result = result_of(&f, &bad[i].descriptor);

		if (result != bad[i].error)
			fail_msg("bad descriptor %zu completed with %d, not %d", i, result,
				 bad[i].error);
		assert_int_equal(result_of(&f, &good), 0);
	}
	assert_null(atomic_load(&f.ring.violation));
	struct engine_counters counters;

	engine_queue_counters(f.ring.queue, &counters);
	assert_int_equal(counters.failed, sizeof bad / sizeof *bad);
	assert_int_equal(counters.operations[VDM_OPCODE_MEMCPY], sizeof bad / sizeof *bad);
	stop(&f);
}

static void operations_at_the_very_end_of_a_region_are_good(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, 1, 50, 16, 0);
	struct vdm_descriptor d = copy_of(&f, 1);

	d.destination_offset = BYTES - 1;
	assert_int_equal(result_of(&f, &d), 0);
	assert_int_equal(f.memory[BYTES - 1], 'c');
	d.destination_offset = BYTES;
	d.length = 0;
	assert_int_equal(result_of(&f, &d), 0);
	stop(&f);
}

/* I4: what cannot happen ends the ring, and only this ring. */
static void I4_a_sequence_jump_ends_the_ring_alone(void **state)
{
	struct fixture f;
	struct raw_ring other;

	(void)state;
	start(&f, 1, 50, 16, 100);
	raw_ring_open(&other, f.engine, f.account, f.regions, 16, 0);
	f.ring.sq += 1; /* as if one had been left out: this slot is not looked at yet */
	vdm_descriptors(f.ring.submission)[100 & 15].sequence = 103;
	raw_bell(&f.ring);
	assert_non_null(raw_violation(&f.ring));
	assert_non_null(strstr(raw_violation(&f.ring), "sequence"));

	struct vdm_descriptor nop = {.opcode = VDM_OPCODE_NOP};

	raw_put(&other, &nop);
	raw_bell(&other);
	assert_non_null(raw_get(&other));
	assert_null(atomic_load(&other.violation));
	raw_ring_close(&other, NULL);
	stop(&f);
}

/* I2: in flight means taken and not completed; a fence behind a held one keeps them so. */
static void I2_more_in_flight_than_entries_ends_the_ring(void **state)
{
	struct fixture f;
	struct vdm_descriptor nop = {.opcode = VDM_OPCODE_NOP};

	(void)state;
	start(&f, 1, 50, 2, 0);
	/* A full ring is served; writing a third entry over one that was not seen complete is seen
	 * as what it is when the worker gets there first, and otherwise as a second lap: either way
	 * it never crashes. */
	raw_put(&f.ring, &nop);
	raw_put(&f.ring, &nop);
	raw_bell(&f.ring);
	assert_non_null(raw_get(&f.ring));
	assert_non_null(raw_get(&f.ring));
	assert_null(atomic_load(&f.ring.violation));
	/* Two laps ahead: no honest producer can be there. */
	vdm_descriptors(f.ring.submission)[0].sequence = f.ring.sq + 1 + 2;
	raw_bell(&f.ring);
	assert_non_null(raw_violation(&f.ring));
	stop(&f);
}

static void sequence_numbers_wrap(void **state)
{
	static const uint32_t firsts[] = {0xfffffff8, 0xffffffff, 0xfffffffe, 0x7ffffffb, 0};
	struct vdm_descriptor nop = {.opcode = VDM_OPCODE_NOP};

	(void)state;
	for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
		struct fixture f;

		start(&f, 1, 50, 4, firsts[i]);
		for (int n = 0; n < 40; n++)
			assert_int_equal(result_of(&f, &nop), 0);
		assert_null(atomic_load(&f.ring.violation));
		stop(&f);
	}
}

static void a_chain_is_cancelled_behind_a_failure(void **state)
{
	struct fixture f;
	struct vdm_descriptor bad = {
		.opcode = VDM_OPCODE_MEMSET, .flags = VDM_DESCRIPTOR_LINK, .length = 1};
	struct vdm_descriptor linked = {.opcode = VDM_OPCODE_NOP, .flags = VDM_DESCRIPTOR_LINK};
	struct vdm_descriptor nop = {.opcode = VDM_OPCODE_NOP};
	static const int want[] = {0, -EFAULT, -ECANCELED, -ECANCELED, 0, 0, 0};

	(void)state;
	start(&f, 2, 50, 16, 0);
	raw_put(&f.ring, &linked);
	raw_put(&f.ring, &bad);
	raw_put(&f.ring, &linked);
	raw_put(&f.ring, &nop); /* the chain's last */
	raw_put(&f.ring, &nop);
	raw_put(&f.ring, &linked); /* another chain, without a failure */
	raw_put(&f.ring, &nop);
	raw_bell(&f.ring);
	for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
		const struct vdm_completion *completion = raw_get(&f.ring);

		assert_non_null(completion);
		assert_int_equal(completion->result, want[i]);
		assert_int_equal(completion->operation, i);
	}
	stop(&f);
}

/* The signal is sent once per armed value, when the count has been reached, and not before. */
/* What the producer has taken back is not carried out, and is said to have been found so. */
static void a_large_operation_is_claimed_or_found_taken_back(void **state)
{
	struct fixture f;
	const size_t large = VDM_CLAIM_BYTES + 1;
	char *memory = calloc(2, large);
	uint32_t region;

	(void)state;
	start(&f, 1, 0, 4, UINT32_MAX - 1);
	assert_int_equal(engine_region_add(f.regions, memory, 2 * large, true, &region), 0);
	memset(memory, 'm', large);

	struct vdm_client_line *client_line = f.ring.submission;
	const struct vdm_daemon_line *daemon_line = f.ring.completion;
	struct vdm_descriptor d = {.opcode = VDM_OPCODE_MEMCPY,
				   .destination_region = region,
				   .source_region = region,
				   .destination_offset = large,
				   .length = large};
	const struct vdm_completion *completion;

	assert_int_equal(atomic_load(&daemon_line->claimed), UINT32_MAX - 1);
	/* positions -1 and 0: the second and the third */
	atomic_store(&client_line->taken_back, (uint64_t)1 << 32 | UINT32_MAX);
	for (unsigned i = 0; i < 4; i++) {
		memset(memory + large, 0, large);
		raw_put(&f.ring, &d);
		raw_bell(&f.ring);
		completion = raw_get(&f.ring);
		assert_non_null(completion);
		assert_int_equal(atomic_load(&daemon_line->claimed), f.ring.sq);
		if (i == 1 || i == 2) {
			assert_int_equal(completion->flags, VDM_COMPLETION_TAKEN_BACK);
			assert_int_equal(completion->result, -ECANCELED);
			assert_true(completion->value == 0);
			assert_int_equal(memory[large], 0);
		} else {
			assert_int_equal(completion->flags, 0);
			assert_int_equal(completion->result, 0);
			assert_memory_equal(memory, memory + large, large);
		}
	}
	/* of the size that is not claimed, whatever the range says */
	atomic_store(&client_line->taken_back, (uint64_t)UINT32_MAX << 32);
	d.length = VDM_CLAIM_BYTES;
	assert_int_equal(result_of(&f, &d), 0);
	/* its region has been removed since, which is no failure */
	d.length = large;
	engine_region_remove(f.regions, region);
	atomic_store(&client_line->taken_back, (uint64_t)(f.ring.sq + 1) << 32 | f.ring.sq);
	raw_put(&f.ring, &d);
	raw_bell(&f.ring);
	completion = raw_get(&f.ring);
	assert_non_null(completion);
	assert_int_equal(completion->flags, VDM_COMPLETION_TAKEN_BACK);
	assert_int_equal(completion->result, -ECANCELED);

	struct engine_counters counters;

	engine_queue_counters(f.ring.queue, &counters);
	assert_true(counters.failed == 0);
	assert_true(counters.operations[VDM_OPCODE_MEMCPY] == 3);
	stop(&f);
	free(memory);
}

static void signals_are_sent_once_and_when_wanted(void **state)
{
	struct fixture f;
	struct vdm_descriptor nop = {.opcode = VDM_OPCODE_NOP};
	struct vdm_client_line *line;
	uint64_t value;

	(void)state;
	start(&f, 1, 50, 16, 0);
	line = f.ring.submission;
	atomic_store(&line->wanted, 2);
	atomic_store(&line->arm, 1);
	assert_int_equal(result_of(&f, &nop), 0);
	assert_int_equal(recv(f.ring.event, &value, sizeof value, MSG_DONTWAIT), -1);
	assert_int_equal(result_of(&f, &nop), 0);
	assert_int_equal(recv(f.ring.event, &value, sizeof value, 0), 8);
	assert_int_equal(result_of(&f, &nop), 0);
	assert_int_equal(result_of(&f, &nop), 0);
	assert_int_equal(recv(f.ring.event, &value, sizeof value, MSG_DONTWAIT), -1);
	stop(&f);
}

/* What its account has been charged, up to an operation before the last. */
static uint64_t charged(struct fixture *f)
{
	crew_lock(&f->engine->crew);
	uint64_t served = f->account->virtual_time;

	crew_unlock(&f->engine->crew);
	return served;
}

/* A page that is not there fails the operation, small or in pieces, and costs what the fault does;
 * the worker goes on. */
static void a_missing_page_fails_the_operation_alone(void **state)
{
	struct fixture f;
	size_t size = 1 << 20;
	int fd = memfd_create("short", 0);
	uint32_t region;

	(void)state;
#if defined(__SANITIZE_THREAD__)
	print_message("skipped: TSan's own signal handling does not return from SIGBUS\n");
	close(fd);
	skip();
#endif
	start(&f, 1, 50, 16, 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	char *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_int_equal(engine_region_add(f.regions, base, size, true, &region), 0);
	assert_int_equal(ftruncate(fd, 8192), 0);
	struct vdm_descriptor d = {.opcode = VDM_OPCODE_MEMSET,
				   .destination_region = region,
				   .destination_offset = 8000,
				   .length = 400,
				   .pattern = 1};
	const struct vdm_descriptor good = copy_of(&f, 64);

	for (uint64_t i = 1; i <= 3; i++) {
		assert_int_equal(result_of(&f, &d), -EFAULT);
		assert_int_equal(result_of(&f, &good), 0);
		assert_true(charged(&f) >= i * FAULT_COST);
	}
	d.destination_offset = 0;
	d.length = size;
	assert_int_equal(result_of(&f, &d), -EFAULT);
	assert_int_equal(result_of(&f, &good), 0);
	assert_true(charged(&f) >= 4 * FAULT_COST);
	stop(&f);
	munmap(base, size);
	close(fd);
}

static void a_removed_region_is_not_found_again(void **state)
{
	struct fixture f;
	struct vdm_descriptor d;
	uint32_t again;

	(void)state;
	start(&f, 1, 50, 16, 0);
	d = copy_of(&f, 64);
	assert_int_equal(engine_region_remove(f.regions, f.readonly), 0);
	assert_int_equal(engine_region_remove(f.regions, f.readonly), -ENOENT);
	assert_int_equal(result_of(&f, &d), -EFAULT);
	/* the slot's next tenant has another id */
	assert_int_equal(engine_region_add(f.regions, f.constant, BYTES, false, &again), 0);
	assert_int_not_equal(again, f.readonly);
	assert_int_equal(result_of(&f, &d), -EFAULT);
	d.source_region = again;
	assert_int_equal(result_of(&f, &d), 0);
	stop(&f);
}

static void a_full_table_says_so(void **state)
{
	struct fixture f;
	uint32_t region;
	int added = 0, result;

	(void)state;
	start(&f, 1, 50, 16, 0);
	while ((result = engine_region_add(f.regions, f.memory, BYTES, true, &region)) == 0)
		added++;
	assert_int_equal(result, -ENOSPC);
	assert_int_equal(added, 6);
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(I1_one_operation_dirties_one_line_each_way),
		cmocka_unit_test(copies_moves_sets_and_flushes),
		cmocka_unit_test(I4_bad_descriptors_fail_alone),
		cmocka_unit_test(operations_at_the_very_end_of_a_region_are_good),
		cmocka_unit_test(I4_a_sequence_jump_ends_the_ring_alone),
		cmocka_unit_test(I2_more_in_flight_than_entries_ends_the_ring),
		cmocka_unit_test(sequence_numbers_wrap),
		cmocka_unit_test(a_chain_is_cancelled_behind_a_failure),
		cmocka_unit_test(a_large_operation_is_claimed_or_found_taken_back),
		cmocka_unit_test(signals_are_sent_once_and_when_wanted),
		cmocka_unit_test(a_missing_page_fails_the_operation_alone),
		cmocka_unit_test(a_removed_region_is_not_found_again),
		cmocka_unit_test(a_full_table_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
