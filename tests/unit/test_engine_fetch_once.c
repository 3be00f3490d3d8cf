/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * I3: what the engine validates is what it executes, although the producer rewrites its descriptors
 * all the time. A second thread flips every field between values that are good and values that
 * would reach outside of the region; the region lies between two guards of memory that must never
 * change.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/engine.h"
#include "engine/descriptor.h"
#include "proto/ring.h"

#define ENTRIES 16
#define REGION  ((size_t)64 << 10)
#define GUARD   ((size_t)1 << 20)
#define CANARY  0x5a

struct attack {
	struct engine *engine;
	struct engine_account *account;
	struct engine_memory *regions;
	struct engine_queue *queue;
	char *memory; /* guard, region, guard */
	void *submission, *completion;
	uint32_t region;
	int doorbell, sockets[2];
	pthread_t liar;
	_Atomic int stop; /* relaxed: ends the liar's loop some time later */
};

static void violated(void *context, const char *reason)
{
	(void)context;
	(void)reason;
	_exit(99); /* sequence words are left alone, so nothing is violated */
}

static int set_up(void **state)
{
	static struct attack a;
	const struct engine_options options = {.workers = 1, .spin_us = 1000};

	assert_int_equal(engine_new(&options, &a.engine), 0);
	assert_int_equal(engine_account_new(a.engine, &a.account), 0);
	assert_int_equal(engine_memory_new(a.engine, 4, &a.regions), 0);
	a.memory = malloc(2 * GUARD + REGION);
	assert_non_null(a.memory);
	memset(a.memory, CANARY, 2 * GUARD + REGION);
	assert_int_equal(engine_region_add(a.regions, a.memory + GUARD, REGION, true, &a.region),
			 0);
	a.submission = aligned_alloc(4096, 2 * 4096);
	a.completion = aligned_alloc(4096, 2 * 4096);
	memset(a.submission, 0, 2 * 4096);
	memset(a.completion, 0, 2 * 4096);
	vdm_submission_prepare(a.submission, ENTRIES, 0);
	vdm_completion_prepare(a.completion, ENTRIES, 0);
	a.doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, a.sockets), 0);

	const struct engine_queue_options queue = {.account = a.account,
						   .memory = a.regions,
						   .submission = a.submission,
						   .completion = a.completion,
						   .entries = ENTRIES,
						   .doorbell_fd = a.doorbell,
						   .signal_fd = a.sockets[0],
						   .violated = violated};

	assert_int_equal(engine_queue_add(a.engine, &queue, &a.queue), 0);
	*state = &a;
	return 0;
}

static int tear_down(void **state)
{
	struct attack *a = *state;

	engine_queue_remove(a->queue, NULL);
	engine_memory_delete(a->regions);
	engine_account_delete(a->account);
	engine_delete(a->engine);
	free(a->memory);
	free(a->submission);
	free(a->completion);
	close(a->doorbell);
	close(a->sockets[0]);
	close(a->sockets[1]);
	return 0;
}

/* relaxed throughout: the point is that nothing orders it; partner: descriptor_fetch() */
static void write_word(struct vdm_descriptor *slot, size_t offset, uint64_t value)
{
	__atomic_store_n((uint64_t *)((char *)slot + offset), value, __ATOMIC_RELAXED);
}

static void write_half(struct vdm_descriptor *slot, size_t offset, uint32_t value)
{
	__atomic_store_n((uint32_t *)((char *)slot + offset), value, __ATOMIC_RELAXED);
}

/* Good and bad values for each field; never the sequence word. */
static void *lie(void *argument)
{
	static const uint64_t offsets[] = {0,        4096, REGION, REGION - 64, (uint64_t)-4096,
					   GUARD / 2};
	static const uint64_t lengths[] = {64, 0, 4096, REGION, GUARD / 2, UINT64_MAX - 4095};
	struct attack *a = argument;

	for (uint32_t n = 0; !atomic_load_explicit(&a->stop, memory_order_relaxed); n++) {
		struct vdm_descriptor *slot = &vdm_descriptors(a->submission)[n % ENTRIES];

		write_word(slot, offsetof(struct vdm_descriptor, destination_offset),
			   offsets[n % 7 % 6]);
		write_word(slot, offsetof(struct vdm_descriptor, length), lengths[n % 11 % 6]);
		write_half(slot, offsetof(struct vdm_descriptor, destination_region),
			   n % 3 ? a->region : a->region + 1);
		write_word(slot, offsetof(struct vdm_descriptor, pattern), n % 5 ? 1 : 1000);
		write_half(slot, 0, n % 13 ? VDM_OPCODE_MEMSET : 77);
	}
	return NULL;
}

static void publish(struct attack *a, uint32_t position)
{
	struct vdm_descriptor *slot = &vdm_descriptors(a->submission)[position % ENTRIES];

	/* release; partner: descriptor_state() */
	atomic_store_explicit(&slot->sequence, position + 1, memory_order_release);
	eventfd_write(a->doorbell, 1);
}

static void await(struct attack *a, uint32_t position, int32_t *result)
{
	const struct vdm_completion *slot = &vdm_completions(a->completion)[position % ENTRIES];

	/* acquire; partner: consumer_complete() */
	while (atomic_load_explicit(&slot->sequence, memory_order_acquire) != position + 1)
		sched_yield();
	*result = slot->result;
}

static void i3_a_descriptor_that_changes_is_still_validated_as_it_is_executed(void **state)
{
	struct attack *a = *state;
	const char *scale = getenv("VDM_TEST_SCALE");
	uint32_t total = 2000 * (scale ? (uint32_t)atoi(scale) : 100);
	unsigned good = 0, bad = 0;

	pthread_create(&a->liar, NULL, lie, a);
	for (uint32_t n = 0; n < total; n += ENTRIES) {
		for (uint32_t i = 0; i < ENTRIES; i++)
			publish(a, n + i);
		for (uint32_t i = 0; i < ENTRIES; i++) {
			int32_t result;

			await(a, n + i, &result);
			assert_true(result == 0 || result == -EINVAL || result == -EFAULT);
			*(result ? &bad : &good) += 1;
		}
	}
	atomic_store_explicit(&a->stop, 1, memory_order_relaxed);
	pthread_join(a->liar, NULL);
	/* neither all good nor all bad, or this would have tested nothing */
	assert_true(good > 0 && bad > 0);
	for (size_t i = 0; i < GUARD; i++) {
		assert_int_equal(a->memory[i], CANARY);
		assert_int_equal(a->memory[GUARD + REGION + i], CANARY);
	}
}

/* The copy is private: what is written to the slot afterwards does not reach it. */
static void i3_a_fetched_descriptor_does_not_change_any_more(void **state)
{
	struct vdm_descriptor slot, copy, before;

	(void)state;
	memset(&slot, 0x11, sizeof slot);
	memcpy(&before, &slot, sizeof slot);
	descriptor_fetch(&slot, &copy);
	memset(&slot, 0x22, sizeof slot);
	assert_memory_equal(&copy, &before, sizeof copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(i3_a_fetched_descriptor_does_not_change_any_more),
		cmocka_unit_test_setup_teardown(
			i3_a_descriptor_that_changes_is_still_validated_as_it_is_executed, set_up,
			tear_down),
	};

	alarm(1000);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
