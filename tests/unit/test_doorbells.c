/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which accounts are heard when many doorbells ring. The engine here has no workers: the test looks
 * itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include "engine/answer.h"
#include "raw_ring.h"

enum { MANY = 1024, ACCOUNTS = 20 };

struct fixture {
	struct engine engine;
	struct engine_memory *regions;
	struct engine_account *flooder, *modest;
	struct raw_ring many[MANY], one; /* of the flooder; of the modest one */
};

static int set_up(void **state)
{
	const struct rlimit enough = {5 * MANY, 5 * MANY};
	struct fixture *f = calloc(1, sizeof *f);

	*state = f;
	if (setrlimit(RLIMIT_NOFILE, &enough) < 0)
		return -1;
	scheduler_init(&f->engine.scheduler, 0);
	supervisor_init(&f->engine.supervisor);
	if (crew_init(&f->engine.crew, 1, 1, false, NULL) < 0 ||
	    doorbells_open(&f->engine.doorbells) < 0 ||
	    engine_memory_new(&f->engine, 0, &f->regions) < 0 ||
	    engine_account_new(&f->engine, &f->flooder) < 0 ||
	    engine_account_new(&f->engine, &f->modest) < 0)
		return -1;
	for (unsigned i = 0; i < MANY; i++)
		raw_ring_open(&f->many[i], &f->engine, f->flooder, f->regions, 2, 0);
	raw_ring_open(&f->one, &f->engine, f->modest, f->regions, 2, 0);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < MANY; i++)
		raw_ring_close(&f->many[i], NULL);
	raw_ring_close(&f->one, NULL);
	engine_account_delete(f->flooder);
	engine_account_delete(f->modest);
	engine_memory_delete(f->regions);
	doorbells_close(&f->engine.doorbells);
	crew_free(&f->engine.crew);
	free(f);
	return 0;
}

/* What a worker does that looks at the doorbells. */
static void look(struct fixture *f)
{
	struct epoll_event events[ACCOUNTS_AT_ONCE];
	int count = doorbells_wait(&f->engine.doorbells, 0, events);

	crew_lock(&f->engine.crew);
	answer_doorbells(&f->engine, events, count);
	crew_unlock(&f->engine.crew);
}

/* Leave a ring to its doorbell again. */
static void unpoll(struct fixture *f, struct raw_ring *ring)
{
	crew_lock(&f->engine.crew);
	scheduler_unpoll(&f->engine.scheduler, ring->queue);
	crew_unlock(&f->engine.crew);
}

static void an_account_that_floods_makes_only_its_own_bells_wait(void **state)
{
	struct fixture *f = *state;

	for (unsigned round = 0; round < 100; round++) {
		const unsigned polled = f->flooder->polled;

		for (unsigned i = 0; i < MANY; i++)
			raw_bell(&f->many[i]);
		raw_bell(&f->one);
		look(f);
		assert_true(f->one.queue->turn.polled);
		assert_in_range(f->flooder->polled - polled, 0, 8);
		unpoll(f, &f->one);
	}
}

/* Each bell is taken once, and none is lost. */
static void every_bell_is_answered(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < MANY; i++)
		raw_bell(&f->many[i]);
	for (unsigned i = 0; i < MANY / 8; i++)
		look(f);
	for (unsigned i = 0; i < MANY; i++) {
		assert_true(f->many[i].queue->turn.polled);
		unpoll(f, &f->many[i]);
	}
	look(f);
	assert_int_equal(f->flooder->polled, 0);
}

/* More accounts ring all the time than are looked at together. */
static void accounts_are_heard_in_turns(void **state)
{
	struct fixture *f = *state;
	struct engine_account *accounts[ACCOUNTS];
	struct raw_ring rings[ACCOUNTS];

	for (unsigned i = 0; i < ACCOUNTS; i++) {
		assert_int_equal(engine_account_new(&f->engine, &accounts[i]), 0);
		raw_ring_open(&rings[i], &f->engine, accounts[i], f->regions, 2, 0);
	}
	for (unsigned round = 0; round < 100; round++) {
		raw_bell(&f->one);
		for (unsigned looks = 0; looks < 2; looks++) {
			for (unsigned i = 0; i < ACCOUNTS; i++)
				raw_bell(&rings[i]);
			look(f);
		}
		assert_true(f->one.queue->turn.polled);
		unpoll(f, &f->one);
	}
	for (unsigned i = 0; i < ACCOUNTS; i++) {
		raw_ring_close(&rings[i], NULL);
		engine_account_delete(accounts[i]);
	}
}

/* Also that of a ring which is polled anyway, and does not seem to be used because of it. */
static void every_bell_is_charged(void **state)
{
	struct fixture *f = *state;
	const struct engine_queue *queue = f->one.queue;
	uint64_t paid = 0;

	for (unsigned i = 0; i < 10; i++) {
		raw_bell(&f->one);
		look(f);
		assert_true(queue->turn.polled);
		assert_true(f->modest->virtual_time > paid);
		paid = f->modest->virtual_time;
		assert_int_equal(queue->turn.touched, i == 0);
		f->one.queue->turn.touched = false;
	}
	assert_int_equal(f->flooder->virtual_time, 0);
}

/* A doorbell that is a socket, and how often its reader was called. */
struct socket_bell {
	int ends[2]; /* the client's, the engine's */
	unsigned calls;
};

static void call_reader(void *context)
{
	((struct socket_bell *)context)->calls++;
}

/* Have the modest one's ring served with such a doorbell, too. */
static struct engine_queue *add_queue(struct fixture *f, struct socket_bell *socket)
{
	struct engine_queue_options options = {
		.account = f->modest,
		.memory = f->regions,
		.submission = f->one.submission,
		.completion = f->one.completion,
		.entries = f->one.entries,
		.signal_fd = f->one.signal,
		.bell_unread = call_reader,
		.context = socket,
	};
	struct engine_queue *queue;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, socket->ends), 0);
	options.doorbell_fd = socket->ends[1];
	assert_int_equal(engine_queue_add(&f->engine, &options, &queue), 0);
	return queue;
}

static void remove_queue(struct engine_queue *queue, const struct socket_bell *socket)
{
	engine_queue_remove(queue, NULL);
	close(socket->ends[0]);
	close(socket->ends[1]);
}

/* Returns whether there was room for it. */
static bool ring_socket(const struct socket_bell *socket)
{
	return send(socket->ends[0], "doorbell", 8, MSG_DONTWAIT) > 0;
}

static void read_all(const struct socket_bell *socket)
{
	char message[8];

	while (recv(socket->ends[1], message, sizeof message, MSG_DONTWAIT) > 0)
		;
}

/* Leave it to its doorbell, as a worker does. */
static void retire(struct fixture *f, const struct engine_queue *queue)
{
	crew_lock(&f->engine.crew);
	while (queue->turn.polled)
		scheduler_retire_quiet(&f->engine.scheduler,
				       f->engine.scheduler.retire_after + 1000000000);
	crew_unlock(&f->engine.crew);
}

/*
 * The engine reads no doorbell, but says now and then that it is time to: by how often it has left
 * the ring, for no producer rings more often than that.
 */
static void unread_bells_are_passed_on(void **state)
{
	struct fixture *f = *state;
	struct socket_bell socket = {.calls = 0};
	struct engine_queue *queue = add_queue(f, &socket);

	for (unsigned i = 0; i < 5 * ENGINE_UNREAD_BELLS; i++) {
		const unsigned calls = socket.calls;
		const uint32_t left = queue->consumer.retirements;

		assert_true(ring_socket(&socket));
		look(f);
		assert_true(queue->turn.polled);
		retire(f, queue);
		assert_int_equal(queue->consumer.retirements, left + 1);
		assert_int_equal(socket.calls - calls, (left + 1) % ENGINE_UNREAD_BELLS == 0);
		if (socket.calls > calls)
			read_all(&socket);
	}
	remove_queue(queue, &socket);
}

/* A doorbell that is full does not ring. When it has been read, the ring is looked at. */
static void what_is_published_for_a_full_doorbell_is_found(void **state)
{
	struct fixture *f = *state;
	const struct vdm_descriptor nop = {.opcode = VDM_OPCODE_NOP};
	struct socket_bell socket = {.calls = 0};
	struct engine_queue *queue = add_queue(f, &socket);

	while (ring_socket(&socket))
		;
	look(f);
	retire(f, queue);
	engine_queue_look(queue);
	assert_false(queue->turn.polled); /* there is nothing */
	raw_put(&f->one, &nop);
	assert_false(ring_socket(&socket));
	read_all(&socket);
	look(f);
	assert_false(queue->turn.polled);
	engine_queue_look(queue);
	assert_true(queue->turn.polled);
	engine_queue_look(queue); /* nothing changes */
	assert_ptr_equal(scheduler_pick(&f->engine.scheduler), queue);
	remove_queue(queue, &socket);
}

/* An event that was taken before its queue or its account was removed finds neither, and nothing of
 * those that are in their place. */
static void what_is_gone_has_no_bells(void **state)
{
	struct fixture *f = *state;
	struct epoll_event events[ACCOUNTS_AT_ONCE], bell;
	struct engine_account *account;
	struct raw_ring ring;

	raw_bell(&f->one);
	assert_int_equal(epoll_wait(f->modest->bells.epoll_fd, &bell, 1, 0), 1);
	assert_ptr_equal(bells_owner(&f->modest->bells, bell.data.u64), f->one.queue);
	raw_ring_close(&f->one, NULL);
	assert_null(bells_owner(&f->modest->bells, bell.data.u64));
	raw_ring_open(&f->one, &f->engine, f->modest, f->regions, 2, 0);
	assert_null(bells_owner(&f->modest->bells, bell.data.u64));
	assert_int_equal((uint32_t)f->one.queue->doorbell, (uint32_t)bell.data.u64);

	assert_int_equal(engine_account_new(&f->engine, &account), 0);
	raw_ring_open(&ring, &f->engine, account, f->regions, 2, 0);
	raw_bell(&ring);
	int count = doorbells_wait(&f->engine.doorbells, 0, events);

	assert_int_equal(count, 1);
	raw_ring_close(&ring, NULL);
	engine_account_delete(account);
	assert_int_equal(engine_account_new(&f->engine, &account), 0);
	raw_ring_open(&ring, &f->engine, account, f->regions, 2, 0);
	raw_bell(&ring);
	crew_lock(&f->engine.crew);
	answer_doorbells(&f->engine, events, count);
	crew_unlock(&f->engine.crew);
	assert_false(ring.queue->turn.polled);
	look(f);
	assert_true(ring.queue->turn.polled);
	raw_ring_close(&ring, NULL);
	engine_account_delete(account);
}

/* Rings that come and go take each other's places, and no search is needed to find one. */
static void places_are_used_again(void **state)
{
	struct fixture *f = *state;
	const uint32_t size = f->flooder->bells.size;

	for (unsigned i = 0; i < 2 * MANY; i++) {
		const uint32_t place = (uint32_t)f->many[i % MANY].queue->doorbell;

		raw_ring_close(&f->many[i % MANY], NULL);
		assert_int_equal(f->flooder->bells.first_free, place);
		raw_ring_open(&f->many[i % MANY], &f->engine, f->flooder, f->regions, 2, 0);
		assert_int_equal((uint32_t)f->many[i % MANY].queue->doorbell, place);
	}
	assert_int_equal(f->flooder->bells.size, size);
}

/* A flood of bells with workers, and another account that has something to do all the time. */
enum { STRETCH = 4000, STEPS = 64, LOOKS = 2 + STRETCH / BATCH_OPERATIONS / STEPS };

struct flood {
	struct raw_ring rings[MANY];
	_Atomic bool stop;      /* relaxed: it ends some time later */
	unsigned before, after; /* bells answered by the first and the last operation */
};

static struct flood flood;

static void *ring_all(void *argument)
{
	(void)argument;
	while (!atomic_load_explicit(&flood.stop, memory_order_relaxed))
		for (unsigned i = 0; i < MANY; i++)
			raw_bell(&flood.rings[i]);
	return NULL;
}

static unsigned bells_answered(void)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < MANY; i++)
		sum += flood.rings[i].queue->bells_answered;
	return sum;
}

/* The first operation waits until all of them have been submitted. */
static pthread_barrier_t submitted;

/* A worker that is alone, and serves a ring of this process, holds the crew's lock here. */
static void *mark(void *dest, int c, size_t n, unsigned flags)
{
	(void)n;
	(void)flags;
	if (c == 1) {
		pthread_barrier_wait(&submitted);
		flood.before = bells_answered();
	} else {
		flood.after = bells_answered();
	}
	return dest;
}

/*
 * While an account has something to do, a worker looks at the doorbells once in so many steps, and
 * takes a few bells of the other. Counts, and no time: however slow each of the threads is.
 */
static void a_flood_of_bells_takes_few_of_the_workers_steps(void **state)
{
	const struct engine_options options = {.workers = 1, .spin_us = 50};
	struct vdm_descriptor d = {.opcode = VDM_OPCODE_MEMSET, .length = 1};
	struct engine_account *flooder, *busy;
	struct engine_memory *regions;
	struct engine *engine;
	struct raw_ring ring;
	pthread_t threads[2];
	char byte;

	(void)state;
	flood.stop = false;
	pthread_barrier_init(&submitted, NULL, 2);
	assert_int_equal(engine_new(&options, &engine), 0);
	assert_int_equal(engine_memory_new(engine, 0, &regions), 0);
	assert_int_equal(engine_account_new(engine, &flooder), 0);
	assert_int_equal(engine_account_new(engine, &busy), 0);
	engine_set_kernels(engine, &(struct kernels){.set = mark});
	for (unsigned i = 0; i < MANY; i++)
		raw_ring_open(&flood.rings[i], engine, flooder, regions, 2, 0);
	raw_ring_open(&ring, engine, busy, regions, 4096, 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ring_all, NULL), 0);
	d.destination_offset = (uintptr_t)&byte;
	d.pattern = 1;
	raw_put(&ring, &d);
	d.opcode = VDM_OPCODE_NOP;
	for (unsigned i = 0; i < STRETCH; i++)
		raw_put(&ring, &d);
	d.opcode = VDM_OPCODE_MEMSET;
	d.pattern = 2;
	raw_put(&ring, &d);
	raw_bell(&ring);
	pthread_barrier_wait(&submitted);
	for (unsigned i = 0; i < STRETCH + 2; i++)
		assert_non_null(raw_get(&ring));
	print_message("%u operations, %u bells\n", STRETCH, flood.after - flood.before);
	assert_true(flood.after - flood.before <= 8 * LOOKS);
	atomic_store_explicit(&flood.stop, true, memory_order_relaxed);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < MANY; i++)
		raw_ring_close(&flood.rings[i], NULL);
	raw_ring_close(&ring, NULL);
	engine_account_delete(flooder);
	engine_account_delete(busy);
	engine_memory_delete(regions);
	engine_delete(engine);
	pthread_barrier_destroy(&submitted);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(an_account_that_floods_makes_only_its_own_bells_wait),
		TEST(every_bell_is_answered),
		TEST(accounts_are_heard_in_turns),
		TEST(every_bell_is_charged),
		TEST(unread_bells_are_passed_on),
		TEST(what_is_published_for_a_full_doorbell_is_found),
		TEST(what_is_gone_has_no_bells),
		TEST(places_are_used_again),
		cmocka_unit_test(a_flood_of_bells_takes_few_of_the_workers_steps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
