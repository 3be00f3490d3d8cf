/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Signals that take long are sent by another thread than the workers. The clock is the test's: it
 * goes on by 1 us whenever it is read, and by `sends_take` in the next send(2).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>

#include "op/backend.h"
#include "raw_ring.h"
#include "removal.h"

enum { TICK_NS = 1000 };

#define SLOW_NS (2 * SENDER_SLOW_NS)

/* Operations of this length are the backend's, which never carries them out by itself. */
#define BACKEND_BYTES 100000

static _Atomic uint64_t now_ns = 1;
static _Atomic uint64_t sends_take; /* the next one */
static _Atomic int failure;         /* of the next one; 0: none */

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
ssize_t __real_send(int socket, const void *data, size_t size, int flags);
ssize_t __wrap_send(int socket, const void *data, size_t size, int flags);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	uint64_t ns = atomic_fetch_add(&now_ns, TICK_NS);

	(void)clock;
	*now = (struct timespec){.tv_sec = (time_t)(ns / 1000000000),
				 .tv_nsec = (long)(ns % 1000000000)};
	return 0;
}

ssize_t __wrap_send(int socket, const void *data, size_t size, int flags)
{
	int error = atomic_exchange(&failure, 0);

	atomic_fetch_add(&now_ns, atomic_exchange(&sends_take, 0));
	if (!error)
		return __real_send(socket, data, size, flags);
	errno = error;
	return -1;
}

/* A client with a ring of its own, which is its callback's context. */
struct client {
	struct raw_ring ring; /* first */
	struct engine_account *account;
	_Atomic unsigned passed_on; /* so many signals */
	uint32_t arm;
};

struct fixture {
	struct backend backend; /* first */
	struct engine *engine;
	struct engine_memory *regions;
	struct client slow, other, direct; /* `direct`: the account of `slow`, and no callback */
	_Atomic(struct backend_request *) request;
	char memory[BACKEND_BYTES];
	uint32_t region;
};

static bool supports(const struct backend *backend, const struct operation *operation)
{
	(void)backend;
	return operation->length == BACKEND_BYTES;
}

static int submit(struct backend *backend, struct backend_request *request)
{
	atomic_store(&((struct fixture *)backend)->request, request);
	return -EINPROGRESS;
}

static void pass_on(void *context)
{
	struct client *client = context;

	atomic_fetch_add(&client->passed_on, 1);
}

static void connect_client(struct fixture *f, struct client *client, struct engine_account *account,
			   void (*signal)(void *))
{
	client->account = account;
	raw_ring_make(&client->ring, 8, 0);

	struct engine_queue_options options = raw_ring_options(&client->ring, account, f->regions);

	options.signal = signal;
	assert_int_equal(engine_queue_add(f->engine, &options, &client->ring.queue), 0);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	const struct engine_options options = {.workers = 1, .spin_us = 50, .backend = &f->backend};
	struct engine_account *slow, *other;

	*state = f;
	f->backend = (struct backend){supports, submit};
	if (engine_new(&options, &f->engine) < 0 || engine_account_new(f->engine, &slow) < 0 ||
	    engine_account_new(f->engine, &other) < 0 ||
	    engine_memory_new(f->engine, 2, &f->regions) < 0 ||
	    engine_region_add(f->regions, f->memory, sizeof f->memory, true, &f->region) < 0)
		return -1;
	connect_client(f, &f->slow, slow, pass_on);
	connect_client(f, &f->other, other, pass_on);
	connect_client(f, &f->direct, slow, NULL);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	raw_ring_close(&f->slow.ring, NULL);
	raw_ring_close(&f->other.ring, NULL);
	raw_ring_close(&f->direct.ring, NULL);
	engine_memory_delete(f->regions);
	engine_account_delete(f->slow.account);
	engine_account_delete(f->other.account);
	engine_delete(f->engine);
	free(f);
	return 0;
}

static bool signal_is_there(const struct client *client)
{
	return poll(&(struct pollfd){.fd = client->ring.event, .events = POLLIN}, 1, 0) > 0;
}

/* Ask for a signal when so many more operations are complete. */
static void arm(struct client *client, uint32_t operations)
{
	struct vdm_client_line *line = client->ring.submission;

	atomic_store(&line->wanted, client->ring.cq + operations);
	atomic_store(&line->arm, ++client->arm);
}

static void complete_one(struct client *client)
{
	const struct vdm_descriptor nop = {.opcode = VDM_OPCODE_NOP};

	raw_put(&client->ring, &nop);
	raw_bell(&client->ring);
	assert_non_null(raw_get(&client->ring));
}

/* Complete an operation whose completion is to be signalled. Returns whether the signal was passed
 * on, or else sent. */
static bool passes_on(struct client *client)
{
	const unsigned before = atomic_load(&client->passed_on);
	uint64_t signal;

	arm(client, 1);
	complete_one(client);
	while (atomic_load(&client->passed_on) == before && !signal_is_there(client))
		poll(NULL, 0, 1);
	if (!signal_is_there(client))
		return true;
	assert_int_equal(atomic_load(&client->passed_on), before);
	assert_int_equal(recv(client->ring.event, &signal, sizeof signal, 0), sizeof signal);
	return false;
}

static void make_slow(struct client *client)
{
	atomic_store(&sends_take, SLOW_NS);
	assert_false(passes_on(client));
	assert_int_equal(atomic_load(&sends_take), 0);
}

static void after_a_slow_signal_the_next_are_passed_on(void **state)
{
	struct fixture *f = *state;

	assert_false(passes_on(&f->slow));
	make_slow(&f->slow);
	for (unsigned i = 0; i < 3; i++)
		assert_true(passes_on(&f->slow));
	assert_false(passes_on(&f->other));
	assert_false(passes_on(&f->direct));
	/* each is passed on once */
	complete_one(&f->slow);
	assert_true(passes_on(&f->slow));
	assert_int_equal(atomic_load(&f->slow.passed_on), 4);
}

static void they_are_tried_again_after_intervals_that_double(void **state)
{
	struct fixture *f = *state;

	for (uint64_t pause = SENDER_FIRST_PAUSE_NS; pause < 16 * SENDER_FIRST_PAUSE_NS;
	     pause *= 2) {
		make_slow(&f->slow);
		atomic_fetch_add(&now_ns, pause * 9 / 10);
		assert_true(passes_on(&f->slow));
		atomic_fetch_add(&now_ns, pause / 10);
	}
	/* they are quick again: */
	for (unsigned i = 0; i < 3; i++)
		assert_false(passes_on(&f->slow));
}

static uint64_t charged(struct fixture *f, const struct client *client)
{
	crew_lock(&f->engine->crew);
	uint64_t cost = client->account->virtual_time;

	crew_unlock(&f->engine->crew);
	return cost;
}

static void the_account_pays_for_its_signals(void **state)
{
	struct fixture *f = *state;
	uint64_t before = charged(f, &f->slow);

	make_slow(&f->slow);
	while (charged(f, &f->slow) < before + SLOW_NS * SIGNAL_NS_COST)
		poll(NULL, 0, 1);
}

static void what_was_passed_on_is_sent_by_its_taker(void **state)
{
	struct fixture *f = *state;
	struct client *client = &f->slow;
	uint64_t signal;

	make_slow(client);
	assert_true(passes_on(client));
	atomic_store(&failure, ENOMEM);
	assert_int_equal(engine_queue_signal(client->ring.queue), -ENOBUFS);
	assert_int_equal(engine_queue_signal(client->ring.queue), 0);
	assert_int_equal(recv(client->ring.event, &signal, sizeof signal, 0), sizeof signal);
	/* unread ones are as good */
	atomic_store(&failure, EAGAIN);
	assert_int_equal(engine_queue_signal(client->ring.queue), 0);
	assert_false(signal_is_there(client));
	/* a client that has closed its end is hung up on */
	atomic_store(&failure, EPIPE);
	assert_int_equal(engine_queue_signal(client->ring.queue), 0);
	assert_int_equal(recv(client->ring.event, &signal, sizeof signal, 0), 0);
}

/* A ring is removed with an operation in a backend's hands, and a fence behind it. */
static void a_removal_signals_what_is_complete_alone(void **state)
{
	struct fixture *f = *state;
	struct client *client = &f->slow;
	struct vdm_descriptor d = {.opcode = VDM_OPCODE_MEMSET,
				   .destination_region = f->region,
				   .length = BACKEND_BYTES};
	struct removal removal = {.queue = client->ring.queue};
	struct backend_request *request;
	unsigned waiting = 0;

	make_slow(client);
	arm(client, 1);
	raw_put(&client->ring, &d);
	d.flags = VDM_DESCRIPTOR_FENCE;
	raw_put(&client->ring, &d);
	raw_bell(&client->ring);
	while (!(request = atomic_load(&f->request)))
		poll(NULL, 0, 1);
	removal_begin(&removal);
	while (removals_told(f->engine, &removal.queue->wait, &waiting) == 0 && waiting == 0)
		poll(NULL, 0, 1);
	request->completed(request);
	removal_end(&removal);
	/* the removal sends it itself, unless a worker that comes first has it sent */
	assert_true(signal_is_there(client) != (atomic_load(&client->passed_on) == 1));
	assert_non_null(raw_get(&client->ring));
	/* what had not begun is not complete: another daemon may do it */
	assert_int_not_equal(
		atomic_load(&vdm_completions(client->ring.completion)[client->ring.cq].sequence),
		client->ring.cq + 1);
	raw_ring_free(&client->ring);
	connect_client(f, client, client->account, pass_on);
}

/* When signals are tried again, one worker does, and the others wait for what it finds. */
static void one_worker_tries_again(void **state)
{
	struct sender sender = {0};
	uint64_t now = 1000;

	(void)state;
	sender_took(&sender, now, now + SLOW_NS);
	now += SLOW_NS + SENDER_FIRST_PAUSE_NS;
	assert_false(sender_passes_on(&sender, now));
	assert_true(sender_passes_on(&sender, now));
	assert_true(sender_passes_on(&sender, now + 1));
	sender_took(&sender, now, now + 1);
	assert_false(sender_passes_on(&sender, now + 2));
	assert_false(sender_passes_on(&sender, now + 2));
}

static void pauses_end_and_old_ones_are_forgiven(void **state)
{
	struct sender sender = {0};
	uint64_t now = 1000;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		sender_took(&sender, now, now + SLOW_NS);
		now += SLOW_NS + SENDER_MOST_PAUSE_NS;
		assert_false(sender_passes_on(&sender, now));
	}
	now += SENDER_FORGIVEN_NS;
	sender_took(&sender, now, now + SLOW_NS);
	now += SLOW_NS + SENDER_FIRST_PAUSE_NS;
	assert_true(sender_passes_on(&sender, now - 1));
	assert_false(sender_passes_on(&sender, now));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(after_a_slow_signal_the_next_are_passed_on),
		TEST(they_are_tried_again_after_intervals_that_double),
		TEST(the_account_pays_for_its_signals),
		TEST(what_was_passed_on_is_sent_by_its_taker),
		TEST(a_removal_signals_what_is_complete_alone),
		cmocka_unit_test(one_worker_tries_again),
		cmocka_unit_test(pauses_end_and_old_ones_are_forgiven),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
