/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rings and regions come and go while workers serve others. Each is removed in attempts: an attempt forbids
 * new work with it, and fails with -EAGAIN as long as a worker has it in hand.
 */
#include <errno.h>

#include "parts.h"

int engine_memory_new(struct engine *engine, uint32_t max_regions, struct engine_memory **memory)
{
	return memory_new(engine, max_regions, memory);
}

void engine_memory_delete(struct engine_memory *memory)
{
	memory_free(memory);
}

int engine_region_add(struct engine_memory *memory, void *base, size_t length, bool writable,
		      uint32_t *region)
{
	return memory_add(memory, base, length, writable, region);
}

/*
 * After an attempt at removing something that failed: wait until a worker has let go of something, if `waiter`
 * is NULL, and return whether to try again. Holding the crew's lock.
 */
static bool try_again(struct engine *engine, struct wait *wait, const struct engine_waiter *waiter)
{
	if (waiter) {
		supervisor_await(&engine->supervisor, wait, waiter);
		return false;
	}
	crew_await_progress(&engine->crew);
	return true;
}

/* Signal for completions that were posted here. The crew's lock is held, but not while the client is woken. */
static void signal_leased(struct engine *engine, struct engine_queue *queue)
{
	queue->leased = true;
	crew_unlock(&engine->crew);
	queue_signal(queue);
	crew_lock(&engine->crew);
	queue->leased = false;
	engine_tell_progress(engine, queue);
}

int engine_queue_add(struct engine *engine, const struct engine_queue_options *options,
		     struct engine_queue **queue)
{
	struct engine_queue *q;

	if (!vdm_ring_entries_valid(options->entries))
		return -EINVAL;

	/* A worker is at each flight of the CPU but one, whose pieces have not all been handed out. */
	unsigned flights = engine->crew.most_threads + 1;
	int result = queue_new(options, flights < options->entries ? flights : options->entries, &q);

	if (result)
		return result;
	/* no worker polls it yet, and its producer has not begun */
	consumer_want_doorbell(&q->consumer, true);
	crew_lock(&engine->crew);
	result = doorbells_add(&engine->doorbells, q, q->doorbell_fd, &q->doorbell);
	if (!result) {
		LIST_INSERT_HEAD(&engine->queues, q, entry);
		LIST_INSERT_HEAD(&q->memory->queues, q, of_memory);
	}
	crew_unlock(&engine->crew);
	if (result) {
		queue_free(q);
		return result;
	}
	*queue = q;
	return 0;
}

/* End what is in progress. */
static int try_remove_queue(struct engine *engine, struct engine_queue *queue)
{
	queue->removed = true;
	if (queue->leased || crew_stop_peeking(&engine->crew, queue))
		return -EAGAIN;
	flights_cancel(&queue->flights, -ECANCELED);
	if (queue_finish_flights(queue))
		signal_leased(engine, queue);
	return queue->flights.active > 0 ? -EAGAIN : 0;
}

/* What has been taken is completed, although it has not begun. */
static void cancel_fenced(struct engine *engine, struct engine_queue *queue)
{
	queue->order.fenced = false;
	queue_complete(queue, &queue->order.next, -ECANCELED);
	consumer_note_in_flight(&queue->consumer);
	signal_leased(engine, queue);
}

int engine_queue_remove(struct engine_queue *queue, const struct engine_waiter *waiter,
			struct engine_counters *counters)
{
	struct engine *engine = queue->account->engine;
	int result;

	crew_lock(&engine->crew);
	while ((result = try_remove_queue(engine, queue)) == -EAGAIN &&
	       try_again(engine, &queue->wait, waiter))
		;
	if (result) {
		crew_unlock(&engine->crew);
		return result;
	}
	if (queue->order.fenced)
		cancel_fenced(engine, queue);
	supervisor_forget(&engine->supervisor, &queue->wait);
	if (queue->turn.polled)
		scheduler_unpoll(&engine->scheduler, queue);
	doorbells_remove(&engine->doorbells, queue->doorbell, queue->doorbell_fd);
	LIST_REMOVE(queue, entry);
	LIST_REMOVE(queue, of_memory);
	crew_unlock(&engine->crew);
	if (counters)
		consumer_counters(&queue->consumer, counters);
	queue_free(queue);
	return 0;
}

void engine_queue_counters(struct engine_queue *queue, struct engine_counters *counters)
{
	consumer_counters(&queue->consumer, counters);
}

/* Whether a batch may be using regions of the memory. */
static bool any_leased(const struct engine_memory *memory)
{
	const struct engine_queue *queue;

	LIST_FOREACH(queue, &memory->queues, of_memory)
		if (queue->leased)
			return true;
	return false;
}

/* End the operations of a queue that use the region and are not being carried out. */
static void end_users(struct engine *engine, struct engine_queue *queue, uint32_t region)
{
	struct flights *flights = &queue->flights;

	if (queue->order.fenced && operation_uses(&queue->order.next, region))
		queue->order.next.error = -EFAULT;
	if (flights->open && operation_uses(&flights->open->operation, region))
		flights_cancel(flights, -EFAULT);
	if (queue_finish_flights(queue))
		signal_leased(engine, queue);
}

static int try_remove_region(struct engine *engine, struct engine_memory *memory,
			     struct memory_region *r, uint32_t region)
{
	struct engine_queue *queue;

	if (any_leased(memory))
		return -EAGAIN;
	/* relaxed: no worker reads it until `paused` is 0 again */
	atomic_store_explicit(&r->id, 0, memory_order_relaxed);
	LIST_FOREACH(queue, &memory->queues, of_memory)
		end_users(engine, queue, region);
	LIST_FOREACH(queue, &memory->queues, of_memory)
		if (flights_use(&queue->flights, region))
			return -EAGAIN;
	return 0;
}

int engine_region_remove(struct engine_memory *memory, uint32_t region,
			 const struct engine_waiter *waiter)
{
	struct engine *engine = memory->engine;
	bool began = false;
	struct memory_region *r = memory_begin_removal(memory, region, &began);
	int result;

	if (!r)
		return -ENOENT;
	crew_lock(&engine->crew);
	memory->paused += !began;
	while ((result = try_remove_region(engine, memory, r, region)) == -EAGAIN &&
	       try_again(engine, &memory->wait, waiter))
		;
	if (!result) {
		memory->paused--;
		if (memory->paused == 0)
			supervisor_forget(&engine->supervisor, &memory->wait);
	}
	crew_unlock(&engine->crew);
	if (!result)
		memory_end_removal(memory, r);
	return result;
}
