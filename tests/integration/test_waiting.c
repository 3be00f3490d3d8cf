/* SPDX-License-Identifier: BSD-3-Clause */
/* The ways to wait: timeouts, many at once, signals in between, a descriptor in epoll. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "check.h"
#include "cmocka_test.h"
#include "process_figures.h"
#include "ring_use.h"
#include "scale.h"

#define BYTES 4096

static struct vdm_client *client;
static struct vdm_ring *ring;
static struct vdm_region *region;
static char *memory;

static int set_up(void **state)
{
	(void)state;
	client = client_opened();
	ring = ring_opened(client, 256, 0);
	memory = region_opened(client, BYTES, &region);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
	return 0;
}

static void submit(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct vdm_sqe *sqe = entry(ring);

		vdm_prep_memset(sqe, memory + i, (int)i, 1, 0);
		sqe->user_data = i;
	}
	assert_int_equal(vdm_ring_submit(ring), count);
}

/* With the daemon stopped, a wait has no choice. */
static void wait_ends_at_its_timeout(void **state)
{
	const struct timespec none = {0}, some = {.tv_nsec = 20000000};
	struct timespec begin, end;
	struct vdm_cqe *cqe;

	(void)state;
	daemon_freeze();
	submit(1);
	assert_int_equal(vdm_ring_peek_cqe(ring, &cqe), -EAGAIN);
	assert_int_equal(vdm_ring_wait_cqes(ring, &cqe, 1, &none), -ETIME);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	assert_int_equal(vdm_ring_wait_cqes(ring, &cqe, 1, &some), -ETIME);
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_true((end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec >=
		    some.tv_nsec);
	daemon_thaw();
	assert_int_equal(vdm_ring_wait_cqe(ring, &cqe), 0);
	assert_int_equal(cqe->result, 0);
	vdm_ring_cqe_seen(ring, cqe);
}

static void wait_for_what_cannot_come_is_refused(void **state)
{
	struct vdm_cqe *cqes[3];

	(void)state;
	assert_int_equal(vdm_ring_wait_cqe(ring, cqes), -EINVAL);
	submit(2);
	assert_int_equal(vdm_ring_wait_cqes(ring, cqes, 3, NULL), -EINVAL);
	assert_int_equal(vdm_ring_wait_cqes(ring, cqes, 2, NULL), 0);
	/* those two are still unseen, so they can be waited for again */
	assert_int_equal(vdm_ring_wait_cqes(ring, cqes, 2, NULL), 0);
	vdm_ring_cq_advance(ring, 2);
	assert_int_equal(vdm_ring_wait_cqe(ring, cqes), -EINVAL);
}

static void wait_for_many_gives_them_all_oldest_first(void **state)
{
	struct vdm_cqe *cqes[256];

	(void)state;
	for (unsigned count = 1; count <= 256; count += count < 8 ? 1 : 31) {
		submit(count);
		assert_int_equal(vdm_ring_wait_cqes(ring, cqes, count, NULL), 0);
		for (unsigned i = 0; i < count; i++)
			assert_int_equal(cqes[i]->user_data, i);
		vdm_ring_cq_advance(ring, count);
	}
}

static void wait_for_some_of_many(void **state)
{
	struct vdm_cqe *cqes[256];
	unsigned seen = 0;

	(void)state;
	submit(256);
	for (unsigned count = 1; seen < 256; count++) {
		if (count > 256 - seen)
			count = 256 - seen;
		assert_int_equal(vdm_ring_wait_cqes(ring, cqes, count, NULL), 0);
		for (unsigned i = 0; i < count; i++)
			assert_int_equal(cqes[i]->user_data, seen++);
		vdm_ring_cq_advance(ring, count);
	}
}

static void peek_gives_a_batch_without_waiting(void **state)
{
	struct vdm_cqe *cqes[64];
	unsigned seen = 0;

	(void)state;
	assert_int_equal(vdm_ring_peek_batch(ring, cqes, 64), 0);
	submit(200);
	while (seen < 200) {
		unsigned count = vdm_ring_peek_batch(ring, cqes, 64);

		assert_true(count <= 64);
		for (unsigned i = 0; i < count; i++)
			assert_int_equal(cqes[i]->user_data, seen++);
		vdm_ring_cq_advance(ring, count);
	}
	assert_int_equal(vdm_ring_peek_batch(ring, cqes, 64), 0);
}

/* They end after the clock does, and so never. */
static void a_huge_timeout_is_as_good_as_none(void **state)
{
	static const struct timespec huge[] = {{.tv_sec = INT64_MAX},
					       {.tv_sec = INT64_MAX / 1000000000},
					       {.tv_sec = INT64_MAX / 1000000000 - 1}};
	struct vdm_cqe *cqe;

	(void)state;
	for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
		submit(1);
		assert_int_equal(vdm_ring_wait_cqes(ring, &cqe, 1, &huge[i]), 0);
		vdm_ring_cqe_seen(ring, cqe);
	}
}

static void a_timeout_that_is_none_is_refused(void **state)
{
	static const struct timespec bad[] = {
		{.tv_sec = -1}, {.tv_nsec = -1}, {.tv_nsec = 1000000000}};
	struct vdm_cqe *cqe;

	(void)state;
	submit(1);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(vdm_ring_wait_cqes(ring, &cqe, 1, &bad[i]), -EINVAL);
		assert_non_null(strstr(vdm_last_error(), "nanoseconds"));
	}
	assert_int_equal(vdm_ring_wait_cqe(ring, &cqe), 0);
	vdm_ring_cqe_seen(ring, cqe);
}

/* Whether the descriptor is readable; or becomes so, where it has to. */
static bool tells(int fd, int timeout_ms)
{
	struct pollfd event = {.fd = fd, .events = POLLIN};

	return poll(&event, 1, timeout_ms) == 1;
}

static void expect_one(void)
{
	struct vdm_cqe *cqe;

	assert_int_equal(vdm_ring_peek_cqe(ring, &cqe), 0);
	vdm_ring_cqe_seen(ring, cqe);
}

/* Let the daemon go on once this process has gone to sleep. */
static void *thaw_when_asleep(void *argument)
{
	const uint64_t *before = argument;

	while (counters_of(client).sleeps == *before)
		usleep(1000);
	daemon_thaw();
	return NULL;
}

static void wait_asleep(unsigned count)
{
	uint64_t before = counters_of(client).sleeps;
	struct vdm_cqe *cqes[4];
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, thaw_when_asleep, &before), 0);
	assert_int_equal(vdm_ring_wait_cqes(ring, cqes, count, NULL), 0);
	pthread_join(thread, NULL);
	vdm_ring_cq_advance(ring, count);
}

static void a_wait_that_slept_leaves_the_descriptor_as_it_was(void **state)
{
	struct vdm_cqe *cqe;
	int fd = vdm_ring_eventfd(ring);

	(void)state;
	assert_int_equal(vdm_ring_peek_cqe(ring, &cqe), -EAGAIN); /* armed */
	daemon_freeze();
	submit(1);
	wait_asleep(1);
	submit(1);
	assert_true(tells(fd, -1));
	expect_one();
	assert_int_equal(vdm_ring_peek_cqe(ring, &cqe), -EAGAIN);

	/* and for what runs here */
	static char here;

	daemon_freeze();
	submit(1);
	wait_asleep(1);
	vdm_prep_memset(entry(ring), &here, 1, 1, 0);
	assert_int_equal(vdm_ring_submit(ring), 1);
	assert_true(tells(fd, 0));
	expect_one();
}

static void the_descriptor_tells_of_what_a_wait_found_beyond_its_count(void **state)
{
	struct vdm_cqe *cqe;
	int fd = vdm_ring_eventfd(ring);

	(void)state;
	assert_int_equal(vdm_ring_peek_cqe(ring, &cqe), -EAGAIN);
	daemon_freeze();
	submit(4); /* one batch for a worker: they complete before it signals */
	wait_asleep(1);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(tells(fd, -1));
		expect_one();
	}
	assert_int_equal(vdm_ring_peek_cqe(ring, &cqe), -EAGAIN);
	assert_false(tells(fd, 0));
}

static volatile sig_atomic_t interruptions;

static void interrupt(int number)
{
	(void)number;
	if (++interruptions == 5)
		daemon_thaw();
}

/* The daemon goes on only after the wait has been interrupted five times. */
static void signals_do_not_end_a_wait(void **state)
{
	const struct sigaction action = {.sa_handler = interrupt};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	const struct itimerspec often = {.it_interval.tv_nsec = 2000000,
					 .it_value.tv_nsec = 2000000};
	struct vdm_cqe *cqe;
	timer_t timer;

	(void)state;
	sigaction(SIGUSR1, &action, NULL);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	daemon_freeze();
	submit(1);
	timer_settime(timer, 0, &often, NULL);
	assert_int_equal(vdm_ring_wait_cqe(ring, &cqe), 0);
	timer_delete(timer);
	assert_true(interruptions >= 5);
	vdm_ring_cqe_seen(ring, cqe);
	signal(SIGUSR1, SIG_DFL);
}

/* Peek until there is nothing, then sleep in epoll_wait(2) without a timeout. */
static void run_epoll_loop(unsigned flags)
{
	unsigned total = (unsigned)scaled(20000), submitted = 0, completed = 0;
	int fd = vdm_ring_eventfd(ring);
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN | flags};

	assert_true(fd >= 0 && epoll >= 0);
	assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
	while (completed < total) {
		struct vdm_cqe *cqe;
		unsigned batch = 1 + submitted % 5;

		while (vdm_ring_peek_cqe(ring, &cqe) == 0) {
			assert_int_equal(cqe->result, 0);
			vdm_ring_cqe_seen(ring, cqe);
			completed++;
		}
		if (submitted == completed && submitted < total) {
			submit(batch);
			submitted += batch;
			total = total < submitted ? submitted : total;
			continue; /* peek once more: that arms the descriptor */
		}
		if (completed == total)
			break;
		assert_int_equal(epoll_wait(epoll, &event, 1, -1), 1);
	}
	close(epoll);
}

static void epoll_loop_level_triggered(void **state)
{
	(void)state;
	run_epoll_loop(0);
}

static void epoll_loop_edge_triggered(void **state)
{
	(void)state;
	run_epoll_loop(EPOLLET);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wait_ends_at_its_timeout),
		cmocka_unit_test(wait_for_what_cannot_come_is_refused),
		cmocka_unit_test(wait_for_many_gives_them_all_oldest_first),
		cmocka_unit_test(wait_for_some_of_many),
		cmocka_unit_test(peek_gives_a_batch_without_waiting),
		cmocka_unit_test(a_huge_timeout_is_as_good_as_none),
		cmocka_unit_test(a_timeout_that_is_none_is_refused),
		cmocka_unit_test(a_wait_that_slept_leaves_the_descriptor_as_it_was),
		cmocka_unit_test(the_descriptor_tells_of_what_a_wait_found_beyond_its_count),
		cmocka_unit_test(signals_do_not_end_a_wait),
		cmocka_unit_test(epoll_loop_level_triggered),
		cmocka_unit_test(epoll_loop_edge_triggered),
	};

	guard_against_hanging(60);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
