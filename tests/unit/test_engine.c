/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "raw_ring.h"

static unsigned scaled(unsigned full)
{
	const char *percent = getenv("VDM_TEST_SCALE");

	return percent ? full * (unsigned)atoi(percent) / 100 + 1 : full;
}

struct fixture {
	struct engine *engine;
	struct engine_account *account;
	struct engine_memory *regions; /* flat */
};

static void start(struct fixture *f, unsigned workers, uint32_t spin_us)
{
	struct engine_options options = {.workers = workers, .spin_us = spin_us};

	assert_int_equal(engine_new(&options, &f->engine), 0);
	assert_int_equal(engine_account_new(f->engine, &f->account), 0);
	assert_int_equal(engine_memory_new(f->engine, 0, &f->regions), 0);
}

static void stop(struct fixture *f)
{
	engine_memory_delete(f->regions);
	engine_account_delete(f->account);
	engine_delete(f->engine);
}

static struct vdm_descriptor copy(void *to, const void *from, size_t n)
{
	return (struct vdm_descriptor){.opcode = VDM_OPCODE_MEMCPY,
				       .destination_offset = (uintptr_t)to,
				       .source_offset = (uintptr_t)from,
				       .length = n};
}

/* Ring the doorbell as an honest producer does: only if it is wanted. */
static void submit(struct raw_ring *ring, const struct vdm_descriptor *descriptor)
{
	struct vdm_daemon_line *line = ring->completion;

	raw_put(ring, descriptor);
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&line->doorbell_wanted, memory_order_relaxed))
		raw_bell(ring);
}

/* Sleep for a completion as an honest producer does: arm, look again, sleep for as long as it
 * takes. */
static const struct vdm_completion *sleep_for(struct raw_ring *ring)
{
	struct vdm_client_line *line = ring->submission;
	const struct vdm_completion *slot =
		&vdm_completions(ring->completion)[ring->cq & (ring->entries - 1)];
	uint64_t value;

	while (atomic_load_explicit(&slot->sequence, memory_order_acquire) != ring->cq + 1) {
		atomic_store_explicit(&line->wanted, ring->cq + 1, memory_order_relaxed);
		atomic_store_explicit(&line->arm, line->arm + 1, memory_order_release);
		atomic_thread_fence(memory_order_seq_cst);
		if (atomic_load_explicit(&slot->sequence, memory_order_acquire) == ring->cq + 1)
			break;
		if (recv(ring->event, &value, sizeof value, 0) < 0)
			abort();
	}
	ring->cq++;
	return slot;
}

static void a_large_copy_is_shared_and_complete(void **state)
{
	size_t n = 40u << 20;
	char *from = malloc(n), *to = calloc(1, n);

	(void)state;
	for (size_t i = 0; i < n; i++)
		from[i] = (char)(i * 7 + (i >> 12));
	for (unsigned workers = 1; workers <= 4; workers++) {
		struct fixture f;
		struct raw_ring ring;

		start(&f, workers, 50);
		raw_ring_open(&ring, f.engine, f.account, f.regions, 8, 0);
		memset(to, 0, n);
		struct vdm_descriptor d = copy(to, from, n);

		submit(&ring, &d);
		const struct vdm_completion *done = sleep_for(&ring);

		assert_int_equal(done->result, 0);
		assert_true(done->value == n);
		assert_memory_equal(to, from, n);
		raw_ring_close(&ring, NULL);
		stop(&f);
	}
	free(from);
	free(to);
}

/* Cut into pieces or not, overlapping ranges keep the meaning of memmove, in both directions. */
static void a_large_overlapping_move_keeps_its_meaning(void **state)
{
	static const long distances[] = {-3000001, -600000, -1, 0, 1, 64, 600000, 3000001};
	size_t n = 5u << 20, room = n + 2 * 3000001;
	char *have = malloc(room), *want = malloc(room);
	struct fixture f;
	struct raw_ring ring;

	(void)state;
	start(&f, 3, 50);
	raw_ring_open(&ring, f.engine, f.account, f.regions, 8, 0);
	for (size_t i = 0; i < sizeof distances / sizeof *distances; i++) {
		for (int opcode = VDM_OPCODE_MEMCPY; opcode <= VDM_OPCODE_MEMMOVE; opcode++) {
			for (size_t b = 0; b < room; b++)
				have[b] = want[b] = (char)(b * 13 + (b >> 10));
			memmove(want + 3000001 + distances[i], want + 3000001, n);
			struct vdm_descriptor d =
				copy(have + 3000001 + distances[i], have + 3000001, n);

			d.opcode = (uint8_t)opcode;
			submit(&ring, &d);
			assert_int_equal(sleep_for(&ring)->result, 0);
			assert_memory_equal(have, want, room);
		}
	}
	raw_ring_close(&ring, NULL);
	stop(&f);
	free(have);
	free(want);
}

/* A fence waits for what was submitted before, also for what is moved in pieces by others. */
static void a_fence_sees_all_earlier_bytes(void **state)
{
	size_t n = 3u << 20;
	char *a = malloc(n), *b = malloc(n), *c = malloc(n);
	struct fixture f;
	struct raw_ring ring;

	(void)state;
	start(&f, 3, 50);
	raw_ring_open(&ring, f.engine, f.account, f.regions, 8, 0);
	for (unsigned round = 0; round < 20; round++) {
		struct vdm_descriptor set = {.opcode = VDM_OPCODE_MEMSET,
					     .destination_offset = (uintptr_t)a,
					     .length = n,
					     .pattern = round + 1};
		struct vdm_descriptor first = copy(b, a, n), second = copy(c, b, n);

		first.flags = second.flags = VDM_DESCRIPTOR_FENCE;
		memset(c, 0, n);
		submit(&ring, &set);
		submit(&ring, &first);
		submit(&ring, &second);
		for (unsigned i = 0; i < 3; i++) {
			const struct vdm_completion *done = sleep_for(&ring);

			assert_int_equal(done->result, 0);
			assert_int_equal(done->operation, 3 * round + i);
		}
		for (size_t i = 0; i < n; i += 997)
			assert_int_equal(c[i], round + 1);
		assert_memory_equal(a, c, n);
	}
	raw_ring_close(&ring, NULL);
	stop(&f);
	free(a);
	free(b);
	free(c);
}

struct hammer {
	struct fixture *fixture;
	unsigned rounds;
	unsigned id;
	unsigned wrong;
};

static void *hammer_main(void *argument)
{
	struct hammer *hammer = argument;
	struct raw_ring ring;
	char from[200], to[200];

	raw_ring_open(&ring, hammer->fixture->engine, hammer->fixture->account,
		      hammer->fixture->regions, 4, 0u - hammer->rounds / 2);
	for (unsigned i = 0; i < hammer->rounds; i++) {
		size_t n = (i * 37 + hammer->id) % sizeof from;

		memset(from, (int)(i + hammer->id), sizeof from);
		memset(to, 0, sizeof to);
		struct vdm_descriptor d = copy(to, from, n);

		d.user_data = i;
		submit(&ring, &d);
		const struct vdm_completion *done = sleep_for(&ring);

		if (done->result || done->user_data != i || memcmp(from, to, n))
			hammer->wrong++;
	}
	raw_ring_close(&ring, NULL);
	return NULL;
}

/* I6: both sides sleep each time, and no timeout is anywhere: a lost wake-up would hang here. */
static void I6_no_wakeup_is_lost(void **state)
{
	enum { THREADS = 6 };
	struct hammer hammers[THREADS];
	pthread_t threads[THREADS];
	struct fixture f;

	(void)state;
	start(&f, 3, 0);
	for (unsigned i = 0; i < THREADS; i++) {
		hammers[i] = (struct hammer){&f, scaled(20000), i, 0};
		pthread_create(&threads[i], NULL, hammer_main, &hammers[i]);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(hammers[i].wrong, 0);
	}
	print_message("workers slept %llu times\n", (unsigned long long)engine_wakeups(f.engine));
	stop(&f);
}

/* Bytes that the first four rings and the fifth have moved. */
static void await_sleep(struct fixture *f)
{
	while (engine_awake(f->engine) > 0)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* A producer rings no doorbell before a worker has announced that it is wanted. */
static void I6_what_was_submitted_before_a_ring_is_added_is_served(void **state)
{
	const struct vdm_descriptor nop = {.opcode = VDM_OPCODE_NOP};
	struct fixture f;

	(void)state;
	start(&f, 1, 0);
	for (unsigned i = 0; i < 3; i++) {
		struct raw_ring ring;

		await_sleep(&f);
		raw_ring_make(&ring, 4, UINT32_MAX - 4 + i);
		for (unsigned n = 0; n < 1 + i; n++)
			submit(&ring, &nop);
		raw_ring_add(&ring, f.engine, f.account, f.regions);
		for (unsigned n = 0; n < 1 + i; n++)
			assert_non_null(raw_get(&ring));
		raw_ring_close(&ring, NULL);
	}
	stop(&f);
}

static void I7_an_empty_ring_wakes_no_worker_when_it_is_added(void **state)
{
	struct raw_ring ring;
	struct fixture f;

	(void)state;
	start(&f, 1, 0);
	await_sleep(&f);
	uint64_t before = engine_wakeups(f.engine);

	raw_ring_open(&ring, f.engine, f.account, f.regions, 4, 0);
	nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_int_equal(engine_wakeups(f.engine), before);
	assert_int_not_equal(((struct vdm_daemon_line *)ring.completion)->doorbell_wanted, 0);
	raw_ring_close(&ring, NULL);
	stop(&f);
}

static void *submit_once(void *ring)
{
	const struct vdm_descriptor nop = {.opcode = VDM_OPCODE_NOP};

	submit(ring, &nop);
	return NULL;
}

/* At any moment of it: either the engine sees the submission, or the producer the announcement. */
static void I6_a_producer_may_begin_while_its_ring_is_added(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, 1, 0);
	for (unsigned i = 0; i < scaled(2000); i++) {
		struct raw_ring ring;
		pthread_t producer;

		raw_ring_make(&ring, 4, 0);
		pthread_create(&producer, NULL, submit_once, &ring);
		for (unsigned n = 0; n < i % 64; n++)
			atomic_signal_fence(memory_order_seq_cst);
		raw_ring_add(&ring, f.engine, f.account, f.regions);
		assert_non_null(raw_get(&ring));
		pthread_join(producer, NULL);
		raw_ring_close(&ring, NULL);
	}
	stop(&f);
}

static void count_bytes(struct raw_ring rings[5], uint64_t moved[2])
{
	struct engine_counters counters;

	moved[0] = moved[1] = 0;
	for (unsigned i = 0; i < 5; i++) {
		engine_queue_counters(rings[i].queue, &counters);
		moved[i / 4] += counters.bytes;
	}
}

/* What exceeds the limit fails alone, and what has ended is in flight no more. */
static void bytes_in_flight_are_limited(void **state)
{
	enum { LARGE = 1 << 20 };
	struct fixture f;
	struct raw_ring ring;
	char *from = calloc(1, LARGE + 1), *to = calloc(1, LARGE + 1);

	(void)state;
	start(&f, 1, 50);
	engine_account_set_in_flight(f.account, LARGE);
	raw_ring_open(&ring, f.engine, f.account, f.regions, 8, 0);
	for (unsigned i = 0; i < 20; i++) {
		struct vdm_descriptor d = copy(to, from, i % 2 ? LARGE + 1 : LARGE);

		submit(&ring, &d);
		const struct vdm_completion *completion = raw_get(&ring);

		assert_non_null(completion);
		assert_int_equal(completion->result, i % 2 ? -EDQUOT : 0);
	}
	raw_ring_close(&ring, NULL);
	stop(&f);
	free(from);
	free(to);
}

/*
 * Bytes are shared by weight between accounts, however many rings each has and however large its
 * operations. The rings are filled once, and looked at while none of them can have run dry.
 */
static void bytes_are_shared_by_weight_between_accounts(void **state)
{
	enum { SMALL = 64 << 10, SMALLS = 4096, LARGE = 1 << 20, LARGES = 256 };
	const uint64_t all = (uint64_t)SMALL * SMALLS;
	struct fixture f;
	struct engine_account *other;
	struct raw_ring rings[5];
	uint64_t before[2], moved[2], first = 0, second = 0;
	char *from = calloc(1, LARGE), *to = calloc(1, LARGE);

	(void)state;
	start(&f, 1, 50);
	assert_int_equal(engine_account_new(f.engine, &other), 0);
	engine_account_set_turn(other, 200, ENGINE_PRIORITY_NORMAL);
	/* four rings of large operations for one, a single ring of small ones for the other */
	for (unsigned i = 0; i < 5; i++)
		raw_ring_open(&rings[i], f.engine, i < 4 ? f.account : other, f.regions,
			      i < 4 ? LARGES : SMALLS, 0);
	struct vdm_descriptor large = copy(to, from, LARGE), small = copy(to, from, SMALL);

	for (unsigned i = 0; i < SMALLS; i++)
		submit(&rings[4], &small);
	for (unsigned i = 0; i < 4 * LARGES; i++)
		submit(&rings[i % 4], &large);
	count_bytes(rings, before);
	/* whenever this thread gets to run: the last look while the fifth ring still had plenty */
	do {
		count_bytes(rings, moved);
		if (moved[1] < all - 16 * LARGE) {
			first = moved[0] - before[0];
			second = moved[1] - before[1];
		}
	} while (moved[1] < all);
	for (unsigned i = 0; i < 5; i++)
		raw_ring_close(&rings[i], NULL);
	engine_account_delete(other);
	stop(&f);
	free(from);
	free(to);
	print_message("weight 100: %llu MiB, weight 200: %llu MiB\n",
		      (unsigned long long)first >> 20, (unsigned long long)second >> 20);
	if (second < 16 * LARGE) {
		print_message(
			"skipped: this thread had no CPU to look while both had something to do\n");
		skip();
	}
	assert_in_range(second * 100 / first, 150, 260);
}

struct interruptions {
	struct fixture *fixture;
	struct engine_account *account;
	unsigned rounds, wrong;
	_Atomic bool stop; /* relaxed: pacing */
};

/* Another user's small operations, from rings that come and go. */
static void *interrupt_main(void *argument)
{
	struct interruptions *own = argument;
	char from[512], to[512];

	while (!atomic_load_explicit(&own->stop, memory_order_relaxed)) {
		struct raw_ring ring;

		raw_ring_open(&ring, own->fixture->engine, own->account, own->fixture->regions, 4,
			      0);
		for (unsigned i = 0; i < 50; i++) {
			struct vdm_descriptor d = copy(to, from, sizeof to);

			memset(from, (int)own->rounds++, sizeof from);
			submit(&ring, &d);
			if (sleep_for(&ring)->result || memcmp(from, to, sizeof to))
				own->wrong++;
		}
		raw_ring_close(&ring, NULL);
	}
	return NULL;
}

/* A piece that is given up for another user is gone on with: no byte is missed, or moved in the
 * wrong order. */
static void what_is_interrupted_is_completed(void **state)
{
	size_t n = 6u << 20, room = n + 5000;
	char *have = malloc(room), *want = malloc(room);

	(void)state;
	for (unsigned workers = 1; workers <= 3; workers++) {
		struct fixture f;
		struct interruptions others = {.fixture = &f};
		struct raw_ring ring;
		pthread_t thread;

		start(&f, workers, 50);
		assert_int_equal(engine_account_new(f.engine, &others.account), 0);
		raw_ring_open(&ring, f.engine, f.account, f.regions, 8, 0);
		pthread_create(&thread, NULL, interrupt_main, &others);
		for (unsigned round = 0; round < scaled(60); round++) {
			size_t from = round % 3 == 0 ? 0 : 5000,
			       to = round % 3 == 1 ? 0 : 5000 - from;
			struct vdm_descriptor move = copy(have + to, have + from, n);
			struct vdm_descriptor apart = copy(want, have, room);

			for (size_t b = 0; b < room; b++)
				have[b] = (char)(b * 13 + (b >> 10) + round);
			memset(want, 0, room);
			submit(&ring, &apart); /* and then the same with ranges that overlap */
			assert_int_equal(sleep_for(&ring)->result, 0);
			assert_memory_equal(have, want, room);
			memmove(want + to, want + from, n);
			submit(&ring, &move);
			assert_int_equal(sleep_for(&ring)->result, 0);
			assert_memory_equal(have, want, room);
		}
		atomic_store_explicit(&others.stop, true, memory_order_relaxed);
		pthread_join(thread, NULL);
		assert_int_equal(others.wrong, 0);
		print_message("%u workers: %u operations of another user meanwhile\n", workers,
			      others.rounds);
		raw_ring_close(&ring, NULL);
		engine_account_delete(others.account);
		stop(&f);
	}
	free(have);
	free(want);
}

/* Removing takes what was begun to its end and waits for it; nothing is touched afterwards. */
static void removing_a_busy_queue_waits_for_its_operations(void **state)
{
	size_t n = 64u << 20;
	char *from = calloc(1, n), *to = calloc(1, n);

	(void)state;
	for (unsigned i = 0; i < 30; i++) {
		struct fixture f;
		struct raw_ring ring;
		struct engine_counters counters;
		struct vdm_descriptor d = copy(to, from, n);

		start(&f, 2, 50);
		raw_ring_open(&ring, f.engine, f.account, f.regions, 8, 0);
		for (unsigned k = 0; k < 4; k++)
			submit(&ring, &d);
		nanosleep(&(struct timespec){.tv_nsec = (long)i * 100000}, NULL);
		raw_ring_close(&ring, &counters);
		assert_int_equal(counters.in_flight, 0);
		stop(&f);
	}
	free(from);
	free(to);
}

static void removing_a_busy_region_ends_its_operations(void **state)
{
	size_t n = 64u << 20;
	char *from = calloc(1, n), *to = calloc(1, n);

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		struct fixture f;
		struct engine_memory *regions;
		struct raw_ring ring;
		uint32_t source, destination;

		start(&f, 2, 50);
		assert_int_equal(engine_memory_new(f.engine, 4, &regions), 0);
		assert_int_equal(engine_region_add(regions, from, n, false, &source), 0);
		assert_int_equal(engine_region_add(regions, to, n, true, &destination), 0);
		raw_ring_open(&ring, f.engine, f.account, regions, 8, 0);
		struct vdm_descriptor d = {.opcode = VDM_OPCODE_MEMCPY,
					   .destination_region = destination,
					   .source_region = source,
					   .length = n};

		for (unsigned k = 0; k < 3; k++)
			submit(&ring, &d);
		nanosleep(&(struct timespec){.tv_nsec = (long)i * 100000}, NULL);
		assert_int_equal(engine_region_remove(regions, destination), 0);
		memset(to, 0x5a, n); /* ours again: no worker writes to it any more */
		for (unsigned k = 0; k < 3; k++) {
			const struct vdm_completion *done = sleep_for(&ring);

			assert_true(done->result == 0 || done->result == -EFAULT);
		}
		for (size_t b = 0; b < n; b += 4096)
			assert_int_equal(to[b], 0x5a);
		raw_ring_close(&ring, NULL);
		engine_memory_delete(regions);
		stop(&f);
	}
	free(from);
	free(to);
}

static void *block_until_told(void *dest, const void *src, size_t n, unsigned flags)
{
	const int *pipe_end = src;
	char byte;

	(void)n;
	(void)flags;
	if (read(*pipe_end, &byte, 1) < 0)
		abort();
	return dest;
}

static void a_stuck_worker_is_noticed(void **state)
{
	struct fixture f;
	struct raw_ring ring;
	int ends[2], to;
	struct vdm_descriptor d;

	(void)state;
	start(&f, 1, 50);
	raw_ring_open(&ring, f.engine, f.account, f.regions, 16, 0);
	assert_int_equal(pipe(ends), 0);
	engine_set_kernels(f.engine, &(struct kernels){.copy = block_until_told});
	while (engine_awake(f.engine) > 0)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	assert_true(engine_healthy(f.engine));
	assert_true(engine_healthy(f.engine)); /* asleep is healthy */
	d = copy(&to, &ends[0], sizeof to);
	submit(&ring, &d);
	while (engine_healthy(f.engine))
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_int_equal(write(ends[1], "x", 1), 1);
	assert_int_equal(sleep_for(&ring)->result, 0);
	close(ends[0]);
	close(ends[1]);
	raw_ring_close(&ring, NULL);
	stop(&f);
}

/* I7: a worker that has nothing to do sleeps, and nothing wakes it. */
static void I7_idle_workers_sleep(void **state)
{
	struct fixture f;
	struct raw_ring rings[10];
	struct vdm_descriptor nop = {.opcode = VDM_OPCODE_NOP};

	(void)state;
	start(&f, 3, 50);
	for (unsigned i = 0; i < 10; i++) {
		raw_ring_open(&rings[i], f.engine, f.account, f.regions, 8, 0);
		submit(&rings[i], &nop);
		sleep_for(&rings[i]);
	}
	await_sleep(&f);
	/* a bell that came while its ring was polled is taken later: one for each ring at most */
	uint64_t before = 0, after = engine_wakeups(f.engine);

	for (unsigned i = 0; i < 11 && after != before; i++) {
		before = after;
		nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
		after = engine_wakeups(f.engine);
	}
	assert_int_equal(after, before);
	for (unsigned i = 0; i < 10; i++)
		raw_ring_close(&rings[i], NULL);
	stop(&f);
}

/* A user that comes, rings more than it has to, and goes while a worker may be taking its bells. */
static void *come_and_go(void *argument)
{
	const struct vdm_descriptor nop = {.opcode = VDM_OPCODE_NOP};
	struct hammer *hammer = argument;

	for (unsigned i = 0; i < hammer->rounds; i++) {
		struct engine_account *account;
		struct raw_ring rings[3];

		if (engine_account_new(hammer->fixture->engine, &account) < 0)
			abort();
		for (unsigned k = 0; k < 3; k++)
			raw_ring_open(&rings[k], hammer->fixture->engine, account,
				      hammer->fixture->regions, 2, 0);
		submit(&rings[i % 3], &nop);
		hammer->wrong += sleep_for(&rings[i % 3])->result != 0;
		for (unsigned k = 0; k < 3; k++) {
			raw_bell(&rings[k]);
			raw_ring_close(&rings[k], NULL);
		}
		engine_account_delete(account);
	}
	return NULL;
}

static void users_come_and_go_while_doorbells_ring(void **state)
{
	enum { THREADS = 3 };
	struct hammer hammers[THREADS];
	pthread_t threads[THREADS];
	struct fixture f;

	(void)state;
	start(&f, 2, 0);
	for (unsigned i = 0; i < THREADS; i++) {
		hammers[i] = (struct hammer){&f, scaled(1000), i, 0};
		pthread_create(&threads[i], NULL, come_and_go, &hammers[i]);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(hammers[i].wrong, 0);
	}
	stop(&f);
}

static void absurd_options_are_refused(void **state)
{
	struct engine_options options = {.workers = 100000};
	struct engine *engine = NULL;

	(void)state;
	assert_int_equal(engine_new(&options, &engine), -EINVAL);
	assert_null(engine);
	engine_delete(NULL);
}

struct removal {
	struct engine_memory *regions;
	uint32_t region;
	pthread_barrier_t *together;
	int result;
};

static void *remove_region(void *argument)
{
	struct removal *removal = argument;

	pthread_barrier_wait(removal->together);
	removal->result = engine_region_remove(removal->regions, removal->region);
	return NULL;
}

/* One of two threads that remove a region has removed it; the rings of its memory are served on. */
static void a_region_is_removed_once(void **state)
{
	const struct vdm_descriptor nop = {.opcode = VDM_OPCODE_NOP};
	struct fixture f;
	struct engine_memory *regions;
	struct raw_ring ring;
	pthread_barrier_t together;
	static char memory[4096];

	(void)state;
	start(&f, 1, 50);
	pthread_barrier_init(&together, NULL, 2);
	assert_int_equal(engine_memory_new(f.engine, 2, &regions), 0);
	raw_ring_open(&ring, f.engine, f.account, regions, 8, 0);
	for (unsigned i = 0; i < 2000; i++) {
		struct removal removal = {.regions = regions, .together = &together}, other;
		pthread_t thread;

		assert_int_equal(engine_region_add(regions, memory, sizeof memory, true,
						   &removal.region),
				 0);
		other = removal;
		assert_int_equal(pthread_create(&thread, NULL, remove_region, &other), 0);
		remove_region(&removal);
		pthread_join(thread, NULL);
		assert_int_equal(removal.result + other.result, -ENOENT);
	}
	raw_put(&ring, &nop);
	raw_bell(&ring);
	assert_non_null(raw_get(&ring));
	raw_ring_close(&ring, NULL);
	engine_memory_delete(regions);
	pthread_barrier_destroy(&together);
	stop(&f);
}

/* I7: regions that no operation uses come and go without a worker. */
static void removing_a_region_wakes_no_worker(void **state)
{
	const struct vdm_descriptor nop = {.opcode = VDM_OPCODE_NOP};
	struct fixture f;
	struct engine_memory *regions;
	struct raw_ring ring;
	static char memory[4096];
	uint32_t region;

	(void)state;
	start(&f, 1, 50);
	assert_int_equal(engine_memory_new(f.engine, 2, &regions), 0);
	raw_ring_open(&ring, f.engine, f.account, regions, 8, 0);
	while (engine_awake(f.engine) > 0)
		poll(NULL, 0, 1);
	uint64_t wakeups = engine_wakeups(f.engine);

	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(engine_region_add(regions, memory, sizeof memory, true, &region),
				 0);
		assert_int_equal(engine_region_remove(regions, region), 0);
	}
	raw_put(&ring, &nop);
	raw_bell(&ring);
	assert_non_null(raw_get(&ring));
	assert_int_equal(engine_wakeups(f.engine), wakeups + 1);
	raw_ring_close(&ring, NULL);
	engine_memory_delete(regions);
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_large_copy_is_shared_and_complete),
		cmocka_unit_test(a_large_overlapping_move_keeps_its_meaning),
		cmocka_unit_test(a_fence_sees_all_earlier_bytes),
		cmocka_unit_test(I6_no_wakeup_is_lost),
		cmocka_unit_test(I6_what_was_submitted_before_a_ring_is_added_is_served),
		cmocka_unit_test(I7_an_empty_ring_wakes_no_worker_when_it_is_added),
		cmocka_unit_test(I6_a_producer_may_begin_while_its_ring_is_added),
		cmocka_unit_test(bytes_in_flight_are_limited),
		cmocka_unit_test(bytes_are_shared_by_weight_between_accounts),
		cmocka_unit_test(what_is_interrupted_is_completed),
		cmocka_unit_test(removing_a_busy_queue_waits_for_its_operations),
		cmocka_unit_test(a_region_is_removed_once),
		cmocka_unit_test(removing_a_region_wakes_no_worker),
		cmocka_unit_test(removing_a_busy_region_ends_its_operations),
		cmocka_unit_test(a_stuck_worker_is_noticed),
		cmocka_unit_test(I7_idle_workers_sleep),
		cmocka_unit_test(users_come_and_go_while_doorbells_ring),
		cmocka_unit_test(absurd_options_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
