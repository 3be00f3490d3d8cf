/* SPDX-License-Identifier: BSD-3-Clause */
/* An engine without threads, and queues of it that are ready when the test says so: to see what is decided. */
#ifndef VDM_TESTS_BARE_ENGINE_H
#define VDM_TESTS_BARE_ENGINE_H

#include "engine/internal.h"
#include "engine/memory.h"
#include "raw_ring.h"

#define BARE_ENTRIES 4

static inline struct engine *bare_engine_new(unsigned workers)
{
	struct engine *engine = aligned_alloc(VDM_CACHE_LINE, sizeof *engine + workers * sizeof(struct worker));

	assert(engine);
	*engine = (struct engine){.threads = workers, .most_threads = workers, .may_watch = true};
	for (unsigned i = 0; i < workers; i++)
		engine->worker[i] = (struct worker){.engine = engine};
	for (unsigned i = 0; i < PRIORITIES; i++)
		TAILQ_INIT(&engine->accounts[i]);
	pthread_mutex_init(&engine->lock, NULL);
	return engine;
}

static inline struct engine_account *bare_account_new(struct engine *engine)
{
	struct engine_account *account;

	if (engine_account_new(engine, &account) < 0)
		abort();
	return account;
}

/* Polled, and not ready. */
static inline struct engine_queue *bare_queue_new(struct engine_account *account, struct engine_memory *regions)
{
	struct engine_queue *queue = calloc(1, sizeof *queue);
	void *submission = raw_memory(vdm_submission_size(BARE_ENTRIES));
	void *completion = raw_memory(vdm_completion_size(BARE_ENTRIES));

	assert(queue);
	vdm_submission_prepare(submission, BARE_ENTRIES, 0);
	vdm_completion_prepare(completion, BARE_ENTRIES, 0);
	queue->engine = account->engine;
	queue->account = account;
	queue->memory = regions;
	queue->client_line = submission;
	queue->descriptors = vdm_descriptors(submission);
	queue->daemon_line = completion;
	queue->completions = vdm_completions(completion);
	queue->entries = BARE_ENTRIES;
	scheduler_poll(queue, 0);
	return queue;
}

static inline void bare_queue_delete(struct engine_queue *queue)
{
	if (queue->polled)
		scheduler_unpoll(queue);
	free((void *)(uintptr_t)queue->client_line);
	free(queue->daemon_line);
	free(queue);
}

/* Whether there is something in the next slot. */
static inline void bare_queue_set_ready(struct engine_queue *queue, bool ready)
{
	struct vdm_descriptor *slot =
		(struct vdm_descriptor *)(uintptr_t)&queue->descriptors[queue->head & (BARE_ENTRIES - 1)];

	atomic_store(&slot->sequence, queue->head + 1 - (ready ? 0 : BARE_ENTRIES));
}

#endif
