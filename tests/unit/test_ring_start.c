/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client uses a ring at once, before the daemon has come to the message that starts it and has
 * prepared the completions: until then they are zero. And its doorbell, which may be a socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/ring.h"
#include "client/ring_take_back.h"
#include "puppet_daemon.h"

#define ENTRIES 8
#define SIZE    ((size_t)64 << 10) /* more than VDM_CLAIM_BYTES */

/* Positions at which the library may be told to begin. */
static const uint32_t firsts[] = {
	1,          0x7ffffffd,     0x7fffffff,     0x80000000,     0x80000001,
	0xfffffff0, UINT32_MAX - 8, UINT32_MAX - 3, UINT32_MAX - 1, UINT32_MAX};
#define FIRSTS (sizeof firsts / sizeof *firsts)

static struct puppet_daemon puppet;
static struct puppet_client own;

/* send(2) fails so often with that error, of what the library sends. */
static struct {
	int error;
	unsigned times;
} sending;

ssize_t __real_send(int socket, const void *bytes, size_t size, int flags);
ssize_t __wrap_send(int socket, const void *bytes, size_t size, int flags);

ssize_t __wrap_send(int socket, const void *bytes, size_t size, int flags)
{
	if (sending.times > 0) {
		sending.times--;
		errno = sending.error;
		return -1;
	}
	return __real_send(socket, bytes, size, flags);
}

static void open_with(uint32_t first, bool delays_start, bool has_socket_doorbell)
{
	puppet_start(&puppet);
	puppet.first = first;
	puppet.delays_start = delays_start;
	puppet.has_socket_doorbell = has_socket_doorbell;
	puppet_client_open(&own, &puppet, 0, 4 * SIZE);
	memset(own.memory, 'a', SIZE);
}

static void close_all(void)
{
	puppet_client_close(&own);
	puppet_stop(&puppet);
}

static void expect_nothing(void)
{
	struct vdm_cqe *cqe;

	assert_int_equal(vdm_ring_peek_cqe(own.ring, &cqe), -EAGAIN);
}

static void expect_next(uint32_t operation)
{
	struct vdm_cqe *cqe;

	assert_int_equal(vdm_ring_peek_cqe(own.ring, &cqe), 0);
	assert_int_equal(cqe->result, 0);
	assert_int_equal(cqe->operation, operation);
	vdm_ring_cqe_seen(own.ring, cqe);
}

/* No zero is taken for a completion, and the ring works over several laps afterwards. */
static void no_completion_is_found_before_the_start(void **state)
{
	(void)state;
	for (size_t i = 0; i < FIRSTS; i++) {
		uint32_t number = firsts[i];

		open_with(firsts[i], true, false);
		for (unsigned n = 0; n < ENTRIES; n++) {
			puppet_client_submit_copy(&own, SIZE / ENTRIES);
			expect_nothing();
		}
		assert_int_equal(puppet_published(&puppet), ENTRIES);
		puppet_start_ring(&puppet);
		expect_nothing();
		for (unsigned lap = 0; lap < 4; lap++) {
			for (unsigned n = 0; n < ENTRIES; n++)
				puppet_complete(&puppet, puppet.completed, 0, 0);
			for (unsigned n = 0; n < ENTRIES; n++)
				expect_next(number++);
			expect_nothing();
			for (unsigned n = 0; n < ENTRIES; n++)
				puppet_client_submit_copy(&own, SIZE / ENTRIES);
		}
		close_all();
	}
}

/* The daemon says that it wants a doorbell when it comes to the ring, and looks itself then. */
static void no_doorbell_is_rung_before_the_start(void **state)
{
	eventfd_t count;

	(void)state;
	open_with(0, true, false);
	puppet_client_submit_copy(&own, SIZE);
	assert_int_equal(eventfd_read(puppet.doorbell_fd, &count), -1);
	assert_int_equal(errno, EAGAIN);
	close_all();
}

/*
 * Nothing has begun, so what is taken back before the start is the client's, and the daemon finds
 * it taken back. Where a zero looks like a later position, nothing is taken back before the start.
 */
static void what_is_taken_back_before_the_start_runs_once(void **state)
{
	(void)state;
	for (size_t i = 0; i < FIRSTS; i++) {
		open_with(firsts[i], true, false);
		puppet_client_submit_copy(&own, SIZE);

		const struct vdm_client_line *line = puppet.submission;
		bool taken = ring_take_back(own.ring, true);

		assert_int_equal(taken, puppet.first <= 0x80000000);
		assert_int_equal(own.memory[SIZE], taken ? 'a' : 0);
		assert_int_equal(atomic_load(&line->taken_back),
				 taken ? (uint64_t)(puppet.first + 1) << 32 | puppet.first : 0);
		puppet_start_ring(&puppet);
		if (!taken) /* now it works */
			assert_true(ring_take_back(own.ring, true));
		expect_next(firsts[i]);
		assert_int_equal(own.memory[SIZE], 'a');
		own.memory[SIZE] = 'b';
		puppet_complete(&puppet, puppet.completed, -ECANCELED, VDM_COMPLETION_TAKEN_BACK);
		expect_nothing(); /* it has been reported */
		assert_int_equal(own.memory[SIZE], 'b');
		close_all();
	}
}

static void a_ring_that_is_not_started_can_be_closed(void **state)
{
	(void)state;
	open_with(0, true, false);
	vdm_ring_close(own.ring);
	own.ring = NULL;
	assert_int_equal(puppet_received(&puppet, VDM_MESSAGE_RING_DESTROY), 1);
	close_all();
}

/* The client does all of its part before it starts the ring. */
static void a_client_populates_prepares_and_seals(void **state)
{
	(void)state;
	open_with(7, true, false);
	for (unsigned i = 0; i < ENTRIES; i++)
		assert_int_equal(atomic_load(&puppet_descriptor(&puppet, 7 + i)->sequence),
				 7 + i + 1 - ENTRIES);
	for (unsigned i = 0; i < 2; i++) {
		struct stat status;

		assert_int_equal(fstat(puppet.files[i], &status), 0);
		assert_int_equal(status.st_blocks * 512, 8192);
	}
	assert_int_equal(fcntl(puppet.files[0], F_GET_SEALS), F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
	close_all();
}

static void want_doorbell(uint32_t value)
{
	struct vdm_daemon_line *line = puppet.completion;

	atomic_store(&line->doorbell_wanted, value);
}

static ssize_t take_ring(void)
{
	uint64_t bytes[2];

	return recv(puppet.doorbell_fd, bytes, sizeof bytes, MSG_DONTWAIT);
}

static void a_doorbell_may_be_an_eventfd(void **state)
{
	eventfd_t count;

	(void)state;
	open_with(0, false, false);
	want_doorbell(1);
	puppet_client_submit_copy(&own, SIZE);
	puppet_client_submit_copy(&own, SIZE);
	assert_int_equal(eventfd_read(puppet.doorbell_fd, &count), 0);
	assert_int_equal(count, 1);
	close_all();
}

static void a_doorbell_may_be_a_socket(void **state)
{
	(void)state;
	open_with(0, false, true);
	puppet_client_submit_copy(&own, 100);
	assert_int_equal(take_ring(), -1);
	for (uint32_t value = 1; value < 3; value++) {
		want_doorbell(value);
		puppet_client_submit_copy(&own, 100);
		puppet_client_submit_copy(&own, 100);
		assert_int_equal(take_ring(), 8);
		assert_int_equal(take_ring(), -1); /* once per value */
	}
	close_all();
}

/* Nobody else would ring it. */
static void a_doorbell_is_rung_again_if_there_was_no_memory(void **state)
{
	static const int errors[] = {ENOBUFS, ENOMEM, EINTR};

	(void)state;
	open_with(0, false, true);
	for (uint32_t i = 0; i < sizeof errors / sizeof *errors; i++) {
		sending.error = errors[i];
		sending.times = 3;
		want_doorbell(1 + i);
		puppet_client_submit_copy(&own, 100);
		assert_int_equal(sending.times, 0);
		assert_int_equal(take_ring(), 8);
	}
	close_all();
}

/* hangs, or is killed by SIGPIPE, if not */
static void ringing_does_not_wait(void **state)
{
	uint32_t value = 0;

	(void)state;
	open_with(0, false, true);
	for (unsigned i = 0; i < 2000; i++) { /* more than a socket holds */
		want_doorbell(++value);
		puppet_client_submit_copy(&own, 100);
		puppet_complete(&puppet, puppet.completed, 0, 0);
		expect_next(i);
	}
	close(puppet.doorbell_fd);
	puppet.doorbell_fd = -1;
	want_doorbell(++value);
	puppet_client_submit_copy(&own, 100);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_completion_is_found_before_the_start),
		cmocka_unit_test(no_doorbell_is_rung_before_the_start),
		cmocka_unit_test(what_is_taken_back_before_the_start_runs_once),
		cmocka_unit_test(a_ring_that_is_not_started_can_be_closed),
		cmocka_unit_test(a_client_populates_prepares_and_seals),
		cmocka_unit_test(a_doorbell_may_be_an_eventfd),
		cmocka_unit_test(a_doorbell_may_be_a_socket),
		cmocka_unit_test(a_doorbell_is_rung_again_if_there_was_no_memory),
		cmocka_unit_test(ringing_does_not_wait),
	};

	alarm(100);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
