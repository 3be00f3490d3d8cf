/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ring whose producer is the test: it writes descriptors byte by byte, so that it can also write
 * what no honest producer would.
 */
#ifndef VDM_TESTS_RAW_RING_H
#define VDM_TESTS_RAW_RING_H

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "engine/engine.h"
#include "proto/ring.h"

/* Looks for what hangs if it has not come then, of 0.1 ms each: several minutes. */
#define RAW_LOOKS 2000000

struct raw_ring {
	void *submission, *completion;
	uint32_t entries, sq, cq;
	int doorbell, event, signal;
	_Atomic(const char *) violation; /* release by the worker; acquire by the test */
	struct engine_queue *queue;
};

static inline void raw_violated(void *context, const char *reason)
{
	struct raw_ring *ring = context;

	atomic_store_explicit(&ring->violation, reason, memory_order_release);
}

static inline void *raw_memory(size_t size)
{
	void *memory = aligned_alloc(4096, (size + 4095) & ~(size_t)4095);

	assert(memory);
	memset(memory, 0, (size + 4095) & ~(size_t)4095);
	return memory;
}

/* A ring that no engine serves yet. */
static inline void raw_ring_make(struct raw_ring *ring, uint32_t entries, uint32_t first)
{
	int pair[2];

	memset(ring, 0, sizeof *ring);
	ring->entries = entries;
	ring->sq = ring->cq = first;
	ring->submission = raw_memory(vdm_submission_size(entries));
	ring->completion = raw_memory(vdm_completion_size(entries));
	vdm_submission_prepare(ring->submission, entries, first);
	vdm_completion_prepare(ring->completion, entries, first);
	ring->doorbell = eventfd(0, EFD_NONBLOCK);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
		abort();
	ring->event = pair[0];
	ring->signal = pair[1];
}

static inline struct engine_queue_options raw_ring_options(struct raw_ring *ring,
							   struct engine_account *account,
							   struct engine_memory *regions)
{
	return (struct engine_queue_options){
		.account = account,
		.memory = regions,
		.submission = ring->submission,
		.completion = ring->completion,
		.entries = ring->entries,
		.first_sequence = ring->cq,
		.doorbell_fd = ring->doorbell,
		.signal_fd = ring->signal,
		.violated = raw_violated,
		.context = ring,
	};
}

static inline void raw_ring_add(struct raw_ring *ring, struct engine *engine,
				struct engine_account *account, struct engine_memory *regions)
{
	const struct engine_queue_options options = raw_ring_options(ring, account, regions);

	if (engine_queue_add(engine, &options, &ring->queue) < 0)
		abort();
}

static inline void raw_ring_open(struct raw_ring *ring, struct engine *engine,
				 struct engine_account *account, struct engine_memory *regions,
				 uint32_t entries, uint32_t first)
{
	raw_ring_make(ring, entries, first);
	raw_ring_add(ring, engine, account, regions);
}

/* When its queue has been removed. */
static inline void raw_ring_free(struct raw_ring *ring)
{
	close(ring->doorbell);
	close(ring->event);
	close(ring->signal);
	free(ring->submission);
	free(ring->completion);
}

static inline void raw_ring_close(struct raw_ring *ring, struct engine_counters *counters)
{
	engine_queue_remove(ring->queue, counters);
	raw_ring_free(ring);
}

/* Write a descriptor with its sequence number, ready to be taken. */
static inline void raw_put(struct raw_ring *ring, const struct vdm_descriptor *descriptor)
{
	struct vdm_descriptor *slot =
		&vdm_descriptors(ring->submission)[ring->sq & (ring->entries - 1)];

	memcpy(slot, descriptor, offsetof(struct vdm_descriptor, sequence));
	atomic_store_explicit(&slot->sequence, ++ring->sq, memory_order_release);
}

static inline void raw_bell(struct raw_ring *ring)
{
	eventfd_write(ring->doorbell, 1);
}

/* The next completion; NULL: it does not come. */
static inline const struct vdm_completion *raw_get(struct raw_ring *ring)
{
	const struct vdm_completion *slot =
		&vdm_completions(ring->completion)[ring->cq & (ring->entries - 1)];

	for (int i = 0; i < RAW_LOOKS; i++) {
		if (atomic_load_explicit(&slot->sequence, memory_order_acquire) == ring->cq + 1) {
			ring->cq++;
			return slot;
		}
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	}
	return NULL;
}

static inline const char *raw_violation(struct raw_ring *ring)
{
	for (int i = 0; i < RAW_LOOKS; i++) {
		const char *reason = atomic_load_explicit(&ring->violation, memory_order_acquire);

		if (reason)
			return reason;
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	}
	return NULL;
}

#endif
