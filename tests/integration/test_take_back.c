/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A waiting thread takes back operations that the daemon has not begun. Each operation is still
 * carried out once, by one of the two. A stopped daemon cannot begin anything, so its timing does
 * not matter in these tests.
 */
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "cmocka_test.h"
#include "process_figures.h"
#include "ring_memory.h"
#include "ring_use.h"
#include "scale.h"

#define SIZE  ((size_t)64 << 10) /* more than VDM_CLAIM_BYTES */
#define COUNT 4

static struct vdm_client *client;
static struct vdm_ring *ring;
static struct ring_memory shared;
static struct vdm_region *region;
static char *memory;

static int set_up(void **state)
{
	(void)state;
	client = client_opened();
	ring = ring_opened_in(client, COUNT, VDM_PRIORITY_NORMAL, &shared);
	memory = region_opened(client, 2 * COUNT * SIZE, &region);
	return 0;
}

/* Stop a daemon that polls the ring: the library waits for one that sleeps. */
static void freeze_polling(void)
{
	do {
		daemon_thaw();
		vdm_prep_nop(entry(ring));
		assert_int_equal(run_one(ring), 0);
		daemon_freeze();
	} while (!ring_is_polled(&shared));
}

static int tear_down(void **state)
{
	(void)state;
	daemon_thaw(); /* a test that failed has left it frozen */
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
	return 0;
}

static char *source(unsigned i)
{
	return memory + i * SIZE;
}

static char *destination(unsigned i)
{
	return memory + (COUNT + i) * SIZE;
}

static bool all_are(const char *bytes, char value)
{
	return bytes[0] == value && memcmp(bytes, bytes + 1, SIZE - 1) == 0;
}

static void prepare_copy(unsigned i, unsigned flags)
{
	struct vdm_sqe *sqe = entry(ring);

	vdm_prep_memcpy(sqe, destination(i), source(i), SIZE, flags);
	sqe->user_data = i;
}

/* Nothing may come late: nothing touches the memory of an operation that is complete. */
static void what_is_not_begun_is_done_here_and_only_here(void **state)
{
	(void)state;
	freeze_polling();
	uint64_t before = counters_of(client).offloaded;

	for (unsigned round = 0; round < 3; round++) {
		/* the ring is full of operations that were taken back: the outcome is the same */
		for (unsigned i = 0; i < COUNT; i++) {
			memset(source(i), (char)('a' + round + i), SIZE);
			prepare_copy(i, 0);
		}
		int32_t results[COUNT];

		run_all(ring, COUNT, results, NULL);
		for (unsigned i = 0; i < COUNT; i++) {
			assert_int_equal(results[i], 0);
			assert_true(all_are(destination(i), (char)('a' + round + i)));
			memset(destination(i), '.', SIZE);
		}
	}
	assert_int_equal(counters_of(client).taken_back, 3 * COUNT);
	assert_int_equal(counters_of(client).offloaded, before + 3 * COUNT);
	daemon_thaw();
	/* begins after all of those */
	vdm_prep_memset(entry(ring), source(0), 'x', 1, VDM_SQE_FENCE);
	assert_int_equal(run_one(ring), 0);
	for (unsigned i = 0; i < COUNT; i++)
		assert_true(all_are(destination(i), '.'));
	assert_int_equal(counters_of(client).failed, 0);
}

static void expect_it_waits(void)
{
	const struct timespec some = {.tv_nsec = 20000000};
	struct vdm_cqe *cqe;

	assert_true(vdm_ring_submit(ring) > 0);
	assert_int_equal(vdm_ring_wait_cqes(ring, &cqe, 1, &some), -ETIME);
	assert_int_equal(counters_of(client).taken_back, 0);
	daemon_thaw();
}

static void expect_done(unsigned count)
{
	struct vdm_cqe *cqes[COUNT];

	assert_int_equal(vdm_ring_wait_cqes(ring, cqes, count, NULL), 0);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(cqes[i]->result, 0);
	vdm_ring_cq_advance(ring, count);
}

/* The daemon has been woken, and has not come yet. */
static void a_daemon_that_sleeps_is_waited_for(void **state)
{
	struct vdm_ring *polled = ring;
	struct ring_memory asleep;

	(void)state;
	/* the daemon has not polled this one yet, but has announced that it wants a doorbell */
	ring = ring_opened_in(client, COUNT, VDM_PRIORITY_NORMAL, &asleep);
	while (ring_is_polled(&asleep))
		sched_yield();
	daemon_freeze();
	prepare_copy(0, 0);
	expect_it_waits();
	expect_done(1);
	vdm_ring_close(ring);
	ring = polled;
}

/* Its place among others would be lost. */
static void what_is_ordered_is_waited_for(void **state)
{
	(void)state;
	freeze_polling();
	prepare_copy(0, VDM_SQE_FENCE);
	expect_it_waits();
	expect_done(1);
	freeze_polling();
	prepare_copy(0, VDM_SQE_LINK);
	prepare_copy(1, 0);
	expect_it_waits();
	expect_done(2);
	freeze_polling();
	prepare_copy(0, 0);
	prepare_copy(1, VDM_SQE_FENCE);
	expect_it_waits();
	expect_done(2);
	assert_int_equal(counters_of(client).taken_back, 0);
}

static void prepare_fence(void)
{
	struct vdm_sqe *sqe = entry(ring);

	vdm_prep_nop(sqe);
	sqe->flags = VDM_SQE_FENCE;
}

/* Operation 0 copies source(0); what comes behind the fence overwrites that. */
static void expect_the_old_bytes(void)
{
	assert_true(all_are(destination(0), 'o'));
	assert_int_equal(source(0)[SIZE - 1], 'n');
}

static void what_follows_a_fence_is_not_taken_back_before_it_has_begun(void **state)
{
	(void)state;
	freeze_polling();
	memset(source(0), 'o', SIZE);
	memset(source(1), 'n', SIZE);
	prepare_copy(0, 0);
	prepare_fence();
	vdm_prep_memcpy(entry(ring), source(0), source(1), SIZE, 0);
	expect_it_waits();
	expect_done(3);
	expect_the_old_bytes();
}

static void what_follows_a_fence_does_not_run_here_before_it_has_begun(void **state)
{
	static char outside[64];

	(void)state;
	freeze_polling();
	memset(source(0), 'o', SIZE);
	memset(outside, 'n', sizeof outside);
	prepare_copy(0, 0);
	prepare_fence();
	vdm_prep_memcpy(entry(ring), source(0) + SIZE - sizeof outside, outside, sizeof outside, 0);
	expect_it_waits();
	expect_done(3);
	expect_the_old_bytes();
}

/* The ring is full, since an operation that was taken back still lies in it. */
static void what_a_full_ring_has_no_room_for_waits_for_the_fence_too(void **state)
{
	const struct timespec some = {.tv_nsec = 20000000};
	struct vdm_cqe *cqe;

	(void)state;
	memset(source(0), 'o', SIZE);
	memset(source(1), 'n', SIZE);
	freeze_polling();
	prepare_copy(2, 0);
	assert_int_equal(vdm_ring_submit(ring), 1);
	assert_int_equal(vdm_ring_wait_cqe(ring, &cqe), 0); /* taken back */
	vdm_ring_cqe_seen(ring, cqe);
	prepare_copy(0, 0);
	prepare_fence();
	prepare_copy(3, 0);
	vdm_prep_memcpy(entry(ring), source(0), source(1), SIZE, 0);
	assert_int_equal(vdm_ring_submit(ring), 4);
	assert_int_equal(vdm_ring_wait_cqes(ring, &cqe, 1, &some), -ETIME);
	assert_int_equal(counters_of(client).taken_back, 1);
	daemon_thaw();
	expect_done(4);
	expect_the_old_bytes();
}

static void what_is_small_is_waited_for(void **state)
{
	(void)state;
	freeze_polling();
	vdm_prep_memcpy(entry(ring), destination(0), source(0), 16384, 0);
	expect_it_waits();
	expect_done(1);
	assert_int_equal(counters_of(client).taken_back, 0);
}

/* The daemon says -EACCES, where the store would end this process. */
static void what_may_not_be_written_is_left_to_the_daemon(void **state)
{
	const struct timespec some = {.tv_nsec = 20000000};
	struct vdm_region *constant;
	struct vdm_cqe *cqe;
	int fd = memfd_create("constant", MFD_ALLOW_SEALING);

	(void)state;
	assert_int_equal(ftruncate(fd, SIZE), 0);
	assert_int_equal(vdm_region_import(client, fd, NULL, SIZE, VDM_REGION_READONLY, &constant),
			 0);
	freeze_polling();
	vdm_prep_memcpy(entry(ring), vdm_region_address(constant), source(0), SIZE, 0);
	assert_int_equal(vdm_ring_submit(ring), 1);
	assert_int_equal(vdm_ring_wait_cqes(ring, &cqe, 1, &some), -ETIME);
	daemon_thaw();
	assert_int_equal(vdm_ring_wait_cqe(ring, &cqe), 0);
	assert_int_equal(cqe->result, -EACCES);
	vdm_ring_cqe_seen(ring, cqe);
	vdm_region_release(constant);
	close(fd);
}

/* Copying so much takes longer than the timeout, and the wait looks at the clock in between. */
static void a_timeout_ends_what_is_taken_back_too(void **state)
{
	enum { MANY = 256 };
	const size_t size = (size_t)1 << 20;
	const struct timespec soon = {.tv_nsec = 1000000};
	struct vdm_cqe *cqes[MANY];
	struct vdm_region *large;
	struct vdm_ring *wide = ring_opened(client, MANY, 0);
	char *bytes = region_opened(client, 2 * size, &large);

	(void)state;
	vdm_prep_nop(entry(wide));
	run_one(wide); /* from now on it is polled */
	daemon_freeze();
	for (unsigned i = 0; i < MANY; i++)
		vdm_prep_memcpy(entry(wide), bytes + size, bytes, size, 0);
	assert_int_equal(vdm_ring_submit(wide), MANY);
	assert_int_equal(vdm_ring_wait_cqes(wide, cqes, MANY, &soon), -ETIME);
	assert_true(counters_of(client).taken_back < MANY);
	daemon_thaw();
	assert_int_equal(vdm_ring_wait_cqes(wide, cqes, MANY, NULL), 0);
	vdm_ring_cq_advance(wide, MANY);
	vdm_ring_close(wide);
	vdm_region_release(large);
}

/* Both sides always compete for the next operations. None is done twice: that would undo what came
 * after it. */
static void a_race_has_one_winner(void **state)
{
	unsigned long rounds = scaled(20000);
	unsigned value[COUNT] = {0}, next = 0, in_flight = 0;

	(void)state;
	for (unsigned long round = 0; round < rounds || in_flight > 0;) {
		struct vdm_cqe *cqe;

		while (round < rounds && in_flight < COUNT) {
			unsigned i = next++ % COUNT;

			memset(source(i), (char)++value[i], SIZE);
			prepare_copy(i, 0);
			round++;
			in_flight++;
		}
		vdm_ring_submit(ring);
		/* all of them: then each is fair game */
		struct vdm_cqe *cqes[COUNT];

		CHECK(vdm_ring_wait_cqes(ring, cqes, in_flight, NULL) == 0, "waiting");
		for (unsigned n = 0; n < in_flight; n++) {
			cqe = cqes[n];
			unsigned i = (unsigned)cqe->user_data;

			CHECK(cqe->result == 0, "result %d", cqe->result);
			CHECK(all_are(destination(i), (char)value[i]),
			      "round %lu: wrong bytes in %u", round, i);
			memset(destination(i), 0, SIZE);
		}
		vdm_ring_cq_advance(ring, in_flight);
		in_flight = 0;
		for (unsigned i = 0; i < COUNT; i++)
			CHECK(all_are(destination(i), 0), "round %lu: %u was copied twice", round,
			      i);
	}
	print_message("%lu operations, %lu taken back\n", rounds,
		      (unsigned long)counters_of(client).taken_back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(what_is_not_begun_is_done_here_and_only_here),
		TEST(a_daemon_that_sleeps_is_waited_for),
		TEST(what_is_ordered_is_waited_for),
		TEST(what_follows_a_fence_is_not_taken_back_before_it_has_begun),
		TEST(what_follows_a_fence_does_not_run_here_before_it_has_begun),
		TEST(what_a_full_ring_has_no_room_for_waits_for_the_fence_too),
		TEST(what_is_small_is_waited_for),
		TEST(what_may_not_be_written_is_left_to_the_daemon),
		TEST(a_timeout_ends_what_is_taken_back_too),
		TEST(a_race_has_one_winner),
	};

	guard_against_hanging(100);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
