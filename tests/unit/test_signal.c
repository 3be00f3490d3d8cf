/* SPDX-License-Identifier: BSD-3-Clause */
/* A signal that the kernel has no memory for is sent again: to hang up would tell the client that
 * nothing moves any more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <limits.h>

#include "raw_ring.h"

static _Atomic int failures; /* so often send(2) fails */
static int failure;

ssize_t __real_send(int socket, const void *data, size_t size, int flags);
ssize_t __wrap_send(int socket, const void *data, size_t size, int flags);

ssize_t __wrap_send(int socket, const void *data, size_t size, int flags)
{
	if (atomic_load(&failures) > 0) {
		atomic_fetch_sub(&failures, 1);
		errno = failure;
		return -1;
	}
	return __real_send(socket, data, size, flags);
}

static void a_signal_comes_after(int times, int error, ssize_t expected)
{
	const struct engine_options options = {.workers = 1, .spin_us = 50};
	const struct vdm_descriptor nop = {.opcode = VDM_OPCODE_NOP};
	struct engine *engine;
	struct engine_account *account;
	struct engine_memory *regions;
	struct raw_ring ring;
	uint64_t signal;

	assert_int_equal(engine_new(&options, &engine), 0);
	assert_int_equal(engine_account_new(engine, &account), 0);
	assert_int_equal(engine_memory_new(engine, 0, &regions), 0);
	raw_ring_open(&ring, engine, account, regions, 4, 0);

	struct vdm_client_line *line = ring.submission;

	failure = error;
	atomic_store(&failures, times);
	atomic_store(&line->wanted, 1);
	atomic_store(&line->arm, 1);
	raw_put(&ring, &nop);
	raw_bell(&ring);
	assert_int_equal(recv(ring.event, &signal, sizeof signal, 0), expected);
	assert_non_null(raw_get(&ring));
	raw_ring_close(&ring, NULL);
	engine_memory_delete(regions);
	engine_account_delete(account);
	engine_delete(engine);
}

static void no_memory_for_a_signal_only_delays_it(void **state)
{
	(void)state;
	a_signal_comes_after(3, ENOBUFS, 8);
	a_signal_comes_after(3, ENOMEM, 8);
}

static void a_client_that_has_closed_its_end_is_hung_up_on(void **state)
{
	(void)state;
	a_signal_comes_after(3, EPIPE, 0);
}

static void when_there_never_is_any_the_client_is_hung_up_on(void **state)
{
	(void)state;
	a_signal_comes_after(INT_MAX, ENOBUFS, 0);
	assert_true(INT_MAX - atomic_load(&failures) < 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_memory_for_a_signal_only_delays_it),
		cmocka_unit_test(when_there_never_is_any_the_client_is_hung_up_on),
		cmocka_unit_test(a_client_that_has_closed_its_end_is_hung_up_on),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
