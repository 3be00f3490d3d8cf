/* SPDX-License-Identifier: BSD-3-Clause */
/* Fences, links and flushes: in the daemon, in this process, and where the two meet in one ring. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "cmocka_test.h"
#include "ring_use.h"
#include "scale.h"

#define LARGE ((size_t)16 << 20) /* cut into pieces, and long enough to be overtaken */

static struct vdm_client *client;
static struct vdm_ring *ring;
static struct vdm_region *regions[3];
static char *shared[3];
static char *heap;
static char *const nowhere = NULL;

static int set_up(void **state)
{
	(void)state;
	client = client_opened();
	ring = ring_opened(client, 64, 0);
	for (unsigned i = 0; i < 3; i++)
		shared[i] = region_opened(client, LARGE, &regions[i]);
	heap = malloc(LARGE);
	return heap ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	free(heap);
	vdm_ring_close(ring);
	for (unsigned i = 0; i < 3; i++)
		vdm_region_release(regions[i]);
	vdm_client_close(client);
	return 0;
}

static void add_copy(unsigned data, char *dest, const char *src, size_t n, unsigned flags)
{
	struct vdm_sqe *sqe = entry(ring);

	vdm_prep_memcpy(sqe, dest, src, n, flags);
	sqe->user_data = data;
}

static void add_set(unsigned data, char *dest, int c, size_t n, unsigned flags)
{
	struct vdm_sqe *sqe = entry(ring);

	vdm_prep_memset(sqe, dest, c, n, flags);
	sqe->user_data = data;
}

/* An operation that fails in whichever lane it takes. */
static void add_bad(unsigned data, unsigned flags)
{
	struct vdm_sqe *sqe = entry(ring);

	sqe->opcode = 200;
	sqe->flags = (uint16_t)flags;
	sqe->user_data = data;
}

static void assert_filled(const char *memory, int c, size_t n)
{
	assert_int_equal(memory[0], c);
	assert_int_equal(memcmp(memory, memory + 1, n - 1), 0);
}

/* Each round would read the round before's bytes if an operation began too early. */
static void fence_begins_after_all_earlier_operations(void **state)
{
	(void)state;
	for (int round = 1; round <= (int)scaled(20); round++) {
		add_set(0, shared[0], round, LARGE / 2, 0);
		add_set(1, shared[0] + LARGE / 2, round, LARGE / 2, 0);
		add_copy(2, shared[1], shared[0], LARGE, VDM_SQE_FENCE);
		add_copy(3, shared[2], shared[1], LARGE, VDM_SQE_FENCE);
		run_all(ring, 4, NULL, NULL);
		assert_filled(shared[2], round, LARGE);
	}
}

static void fence_holds_later_operations_back_until_it_has_begun(void **state)
{
	(void)state;
	for (int round = 1; round <= (int)scaled(20); round++) {
		/* The last one is not fenced itself; it must not run before the first, though. */
		add_set(0, shared[0], round, LARGE, 0);
		add_copy(1, shared[1], shared[0], 64, VDM_SQE_FENCE);
		add_copy(2, shared[2], shared[0] + LARGE - 64, 64, 0);
		run_all(ring, 3, NULL, NULL);
		assert_filled(shared[1], round, 64);
		assert_filled(shared[2], round, 64);
	}
}

/* A fenced operation that stays here waits for those that went to the daemon, and the other way. */
static void fence_holds_between_the_lanes(void **state)
{
	(void)state;
	for (int round = 1; round <= (int)scaled(20); round++) {
		add_set(0, shared[0], round, LARGE, 0);
		add_copy(1, heap, shared[0], LARGE, VDM_SQE_FENCE);
		add_copy(2, shared[1], heap, LARGE, VDM_SQE_FENCE);
		add_copy(3, shared[2], shared[1], LARGE, VDM_SQE_FENCE);
		run_all(ring, 4, NULL, NULL);
		assert_filled(heap, round, LARGE);
		assert_filled(shared[2], round, LARGE);
	}
}

static void linked_operations_run_one_after_the_other(char *a, char *b, char *c)
{
	for (int round = 1; round <= (int)scaled(20); round++) {
		unsigned order[6];

		add_set(0, a, round, LARGE, VDM_SQE_LINK);
		add_copy(1, b, a, LARGE, VDM_SQE_LINK);
		add_copy(2, c, b, LARGE, 0);
		/* a second chain directly behind the first */
		add_set(3, a, -round, 100, VDM_SQE_FENCE | VDM_SQE_LINK);
		add_copy(4, b, a, 100, VDM_SQE_LINK);
		add_copy(5, c + LARGE - 100, b, 100, 0);
		run_all(ring, 6, NULL, order);
		for (unsigned i = 0; i < 6; i++)
			assert_int_equal(order[i], i);
		assert_filled(c, round, LARGE - 100);
		assert_filled(c + LARGE - 100, -round, 100);
	}
}

static void links_in_the_daemon(void **state)
{
	(void)state;
	linked_operations_run_one_after_the_other(shared[0], shared[1], shared[2]);
}

static void links_in_this_process(void **state)
{
	char *other = malloc(2 * LARGE);

	(void)state;
	assert_non_null(other);
	linked_operations_run_one_after_the_other(heap, other, other + LARGE);
	free(other);
}

static void links_between_the_lanes(void **state)
{
	(void)state;
	linked_operations_run_one_after_the_other(shared[0], heap, shared[2]);
	linked_operations_run_one_after_the_other(heap, shared[1], shared[2]);
}

static void a_failure_cancels_the_rest_of_its_chain(char *a, char *b)
{
	int32_t results[8];

	memset(a, 1, 64);
	memset(b, 2, 64);
	add_set(0, a, 3, 64, VDM_SQE_LINK);
	add_bad(1, VDM_SQE_LINK);
	add_copy(2, b, a, 64, VDM_SQE_LINK);
	add_set(3, a, 4, 64, VDM_SQE_LINK);
	add_set(4, a, 5, 64, 0);
	/* no longer of that chain */
	add_set(5, b, 6, 32, 0);
	add_set(6, a + 32, 7, 32, VDM_SQE_LINK);
	add_copy(7, b + 32, a + 32, 32, 0);
	run_all(ring, 8, results, NULL);
	assert_int_equal(results[0], 0);
	assert_int_equal(results[1], -EINVAL);
	assert_int_equal(results[2], -ECANCELED);
	assert_int_equal(results[3], -ECANCELED);
	assert_int_equal(results[4], -ECANCELED);
	assert_int_equal(results[5], 0);
	assert_int_equal(results[6], 0);
	assert_int_equal(results[7], 0);
	assert_filled(a, 3, 32);
	assert_filled(b, 6, 32);
	assert_filled(b + 32, 7, 32);
}

static void cancelled_in_the_daemon(void **state)
{
	(void)state;
	a_failure_cancels_the_rest_of_its_chain(shared[0], shared[1]);
}

static void cancelled_in_this_process(void **state)
{
	(void)state;
	a_failure_cancels_the_rest_of_its_chain(heap, heap + 4096);
}

static void cancelled_between_the_lanes(void **state)
{
	(void)state;
	a_failure_cancels_the_rest_of_its_chain(shared[0], heap);
	a_failure_cancels_the_rest_of_its_chain(heap, shared[1]);
}

static void a_failure_at_the_end_of_a_chain_cancels_nothing(void **state)
{
	int32_t results[3];

	(void)state;
	add_set(0, shared[0], 1, 64, VDM_SQE_LINK);
	add_bad(1, 0);
	add_set(2, shared[0], 2, 64, 0);
	run_all(ring, 3, results, NULL);
	assert_int_equal(results[0], 0);
	assert_int_equal(results[1], -EINVAL);
	assert_int_equal(results[2], 0);
	assert_filled(shared[0], 2, 64);
}

/* A link ends with its submit: the next batch must not wait for it, nor fail with it. */
static void a_link_does_not_reach_into_the_next_submit(void **state)
{
	int32_t results[2];

	(void)state;
	add_bad(0, VDM_SQE_LINK);
	assert_int_equal(vdm_ring_submit(ring), 1);
	add_set(1, shared[0], 9, 64, 0);
	run_all(ring, 2, results, NULL);
	assert_int_equal(results[0], -EINVAL);
	assert_int_equal(results[1], 0);
	assert_filled(shared[0], 9, 64);
}

static void a_flush_completes_after_all_earlier_operations(char *dest, const char *src)
{
	for (unsigned round = 0; round < scaled(20); round++) {
		unsigned order[34];

		/* large and small ones, so that completions could come in any order */
		for (unsigned i = 0; i < 33; i++)
			add_copy(i, dest + i * (LARGE / 64), src + i * (LARGE / 64),
				 i % 3 ? LARGE / 64 : 100, 0);
		struct vdm_sqe *sqe = entry(ring);

		vdm_prep_flush(sqe, dest, LARGE, 0);
		sqe->user_data = 33;
		run_all(ring, 34, NULL, order);
		assert_int_equal(order[33], 33);
	}
}

static void flush_in_the_daemon(void **state)
{
	(void)state;
	a_flush_completes_after_all_earlier_operations(shared[0], shared[1]);
}

static void flush_behind_offloaded_operations_stays_behind_them(void **state)
{
	unsigned order[2];

	(void)state;
	/* its own memory is not in a region */
	add_copy(0, shared[0], shared[1], LARGE, 0);
	struct vdm_sqe *sqe = entry(ring);

	vdm_prep_flush(sqe, heap, 64, 0);
	sqe->user_data = 1;
	run_all(ring, 2, NULL, order);
	assert_int_equal(order[0], 0);
	assert_int_equal(order[1], 1);
}

/* With the usual threshold a flush by itself would have nothing to wait for, and run here. */
static void a_flush_at_the_end_of_a_chain_does_not_keep_the_chain_here(void **state)
{
	const struct vdm_options options = {.size = sizeof options, .offload_threshold = 64 << 10};
	const uint64_t before = counters_of(client).offloaded;
	struct vdm_ring *usual;
	struct vdm_cqe *cqes[2];

	(void)state;
	assert_int_equal(vdm_ring_open(client, &options, &usual), 0);
	vdm_prep_memcpy(entry(usual), shared[0], shared[1], LARGE, VDM_SQE_LINK);
	vdm_prep_flush(entry(usual), shared[0], LARGE, 0);
	assert_int_equal(vdm_ring_submit(usual), 2);
	assert_int_equal(vdm_ring_wait_cqes(usual, cqes, 2, NULL), 0);
	assert_int_equal(counters_of(client).offloaded - before, 2);
	vdm_ring_close(usual);
}

static void flush_in_this_process(void **state)
{
	(void)state;
	a_flush_completes_after_all_earlier_operations(heap, shared[1]);
}

static void bad_entries_complete_with_einval(void **state)
{
	int32_t results[5];
	struct vdm_sqe *sqe;

	(void)state;
	memset(shared[0], 0, 64);
	add_bad(0, 0);
	add_set(1, shared[0], 1, 64, 1u << 15); /* an unknown flag */
	sqe = entry(ring);
	vdm_prep_memset(sqe, shared[0], 2, 64, 0);
	sqe->reserved[1] = 7;
	sqe->user_data = 2;
	sqe = entry(ring);
	vdm_prep_memset(sqe, shared[0], 3, 64, 0);
	sqe->reserved0 = 1;
	sqe->user_data = 3;
	add_set(4, shared[0] + 64, 4, 64, 0);
	run_all(ring, 5, results, NULL);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(results[i], -EINVAL);
	assert_int_equal(results[4], 0);
	assert_filled(shared[0], 0, 64);
	assert_filled(shared[0] + 64, 4, 64);
}

static void durable_is_refused_where_it_is_not_supported(void **state)
{
	struct vdm_client_info info = {.size = sizeof info};

	(void)state;
	assert_int_equal(vdm_client_info(client, &info), 0);
	if (info.features & VDM_FEATURE_FILE_REGIONS)
		skip();
	vdm_prep_flush(entry(ring), shared[0], 64, VDM_SQE_DURABLE);
	assert_int_equal(run_one(ring), -EOPNOTSUPP);
	vdm_prep_memset(entry(ring), heap, 1, 64, VDM_SQE_DURABLE);
	assert_int_equal(run_one(ring), -EOPNOTSUPP);
}

static void nothing_to_move_needs_no_memory(void **state)
{
	(void)state;
	vdm_prep_nop(entry(ring));
	assert_int_equal(run_one(ring), 0);
	vdm_prep_memcpy(entry(ring), nowhere, nowhere, 0, 0);
	assert_int_equal(run_one(ring), 0);
	vdm_prep_memset(entry(ring), nowhere, 1, 0, 0);
	assert_int_equal(run_one(ring), 0);
	vdm_prep_flush(entry(ring), nowhere, 0, 0);
	assert_int_equal(run_one(ring), 0);
	vdm_prep_memcpy(entry(ring), shared[0] + LARGE, shared[1] + LARGE, 0, 0);
	assert_int_equal(run_one(ring), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fence_begins_after_all_earlier_operations),
		cmocka_unit_test(fence_holds_later_operations_back_until_it_has_begun),
		cmocka_unit_test(fence_holds_between_the_lanes),
		cmocka_unit_test(links_in_the_daemon),
		cmocka_unit_test(links_in_this_process),
		cmocka_unit_test(links_between_the_lanes),
		cmocka_unit_test(cancelled_in_the_daemon),
		cmocka_unit_test(cancelled_in_this_process),
		cmocka_unit_test(cancelled_between_the_lanes),
		cmocka_unit_test(a_failure_at_the_end_of_a_chain_cancels_nothing),
		cmocka_unit_test(a_link_does_not_reach_into_the_next_submit),
		cmocka_unit_test(flush_in_the_daemon),
		cmocka_unit_test(flush_behind_offloaded_operations_stays_behind_them),
		cmocka_unit_test(a_flush_at_the_end_of_a_chain_does_not_keep_the_chain_here),
		cmocka_unit_test(flush_in_this_process),
		cmocka_unit_test(bad_entries_complete_with_einval),
		cmocka_unit_test(durable_is_refused_where_it_is_not_supported),
		cmocka_unit_test(nothing_to_move_needs_no_memory),
	};

	guard_against_hanging(60);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
