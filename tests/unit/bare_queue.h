/* SPDX-License-Identifier: BSD-3-Clause */
/* Queues that are ready when the test says so, without workers: to see what is decided. */
#ifndef VDM_TESTS_BARE_QUEUE_H
#define VDM_TESTS_BARE_QUEUE_H

#include "engine/memory.h"
#include "engine/queue.h"
#include "engine/scheduler.h"
#include "raw_ring.h"

#define BARE_ENTRIES 4

/* The ring of a queue; its context. */
struct bare_ring {
	void *submission, *completion;
};

static inline struct engine_account *bare_account_new(void)
{
	struct engine_account *account;

	if (account_new(&account) < 0)
		abort();
	return account;
}

/* Polled, and not ready. */
static inline struct engine_queue *bare_queue_new(struct scheduler *scheduler,
						  struct engine_account *account,
						  struct engine_memory *regions)
{
	struct bare_ring *ring = malloc(sizeof *ring);
	struct engine_queue_options options = {
		.account = account, .memory = regions, .entries = BARE_ENTRIES, .context = ring};
	struct engine_queue *queue;

	assert(ring);
	ring->submission = options.submission = raw_memory(vdm_submission_size(BARE_ENTRIES));
	ring->completion = options.completion = raw_memory(vdm_completion_size(BARE_ENTRIES));
	vdm_submission_prepare(ring->submission, BARE_ENTRIES, 0);
	vdm_completion_prepare(ring->completion, BARE_ENTRIES, 0);
	if (queue_new(&options, 1, &queue) < 0)
		abort();
	scheduler_poll(scheduler, queue, 0);
	return queue;
}

static inline void bare_queue_delete(struct scheduler *scheduler, struct engine_queue *queue)
{
	struct bare_ring *ring = queue->context;

	if (queue->turn.polled)
		scheduler_unpoll(scheduler, queue);
	free(ring->submission);
	free(ring->completion);
	free(ring);
	queue_free(queue);
}

/* Whether there is something in the next slot. */
static inline void bare_queue_set_ready(struct engine_queue *queue, bool ready)
{
	const struct bare_ring *ring = queue->context;
	uint32_t head = queue->consumer.head;
	struct vdm_descriptor *slot = &vdm_descriptors(ring->submission)[head & (BARE_ENTRIES - 1)];

	atomic_store(&slot->sequence, head + 1 - (ready ? 0 : BARE_ENTRIES));
}

#endif
