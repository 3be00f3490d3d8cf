/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rings and regions come and go while workers serve others. A removal forbids new work with what
 * is removed, and waits as long as a worker has it in hand.
 */
#include <errno.h>

#include "base/barrier.h"
#include "base/clock.h"
#include "parts.h"

/* Operations of one ring that a backend may have in progress. */
#define BACKEND_FLIGHTS 32

int engine_account_new(struct engine *engine, struct engine_account **account)
{
	struct engine_account *a;
	struct bells *accounts = &engine->doorbells.accounts;
	int result = account_new(&a);

	if (result)
		return result;
	a->engine = engine;
	crew_lock(&engine->crew);
	result = bells_reserve(accounts, a, &a->bell);
	crew_unlock(&engine->crew);
	if (!result) {
		result = bells_listen(accounts, a->bells.epoll_fd, a->bell, EPOLLIN);
		if (!result) {
			*account = a;
			return 0;
		}
		crew_lock(&engine->crew);
		bells_release(accounts, a->bell);
		crew_unlock(&engine->crew);
	}
	account_free(a);
	return result;
}

void engine_account_delete(struct engine_account *account)
{
	struct engine *engine = account->engine;

	/* not left to close(2): a child of this process may have the descriptor, too */
	bells_ignore(&engine->doorbells.accounts, account->bells.epoll_fd);
	crew_lock(&engine->crew);
	bells_release(&engine->doorbells.accounts, account->bell);
	while (account->listeners > 0)
		crew_await_progress(&engine->crew, &account->wait);
	crew_unlock(&engine->crew);
	account_free(account);
}

int engine_memory_new(struct engine *engine, uint32_t max_regions, struct engine_memory **memory)
{
	int result = memory_new(engine, max_regions, memory);

	if (!result)
		(*memory)->has_backend = engine->backend;
	return result;
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

/* Signal for completions that were posted here. The crew's lock is held, but not while the client
 * is woken: the caller waits for that, and no other client does. */
static void signal_leased(struct engine *engine, struct engine_queue *queue)
{
	queue->leased = true;
	crew_unlock(&engine->crew);
	queue_signal_here(queue);
	crew_lock(&engine->crew);
	queue->leased = false;
	engine_tell_progress(engine, queue);
}

/* Complete what is finished; more may have when the lock is held again. */
static void finish_flights(struct engine *engine, struct engine_queue *queue)
{
	while (queue_finish_flights(queue))
		signal_leased(engine, queue);
}

/* A worker is at each flight of the CPU but one, whose pieces have not all been handed out. */
static unsigned most_flights(const struct engine *engine, uint32_t entries)
{
	unsigned most = engine->crew.most_threads + 1 + (engine->backend ? BACKEND_FLIGHTS : 0);

	return most < entries ? most : entries;
}

/* Only while it is not leased. */
static bool is_empty(const struct engine_queue *queue)
{
	const struct next_slot next = consumer_next(&queue->consumer);

	return next_slot_is_empty(&next);
}

/* Holding the crew's lock. */
static void poll_if_submitted(struct engine *engine, struct engine_queue *queue)
{
	if (queue->turn.polled || (!queue->leased && is_empty(queue)))
		return;
	scheduler_poll(&engine->scheduler, queue, monotonic_ns());
	supervisor_wake(&engine->crew, &engine->doorbells);
}

int engine_queue_add(struct engine *engine, const struct engine_queue_options *options,
		     struct engine_queue **queue)
{
	struct engine_queue *q;

	if (!vdm_ring_entries_valid(options->entries))
		return -EINVAL;

	int result = queue_new(options, most_flights(engine, options->entries), &q);

	if (result)
		return result;
	/* No worker polls it yet, but its producer may have begun. Announce, full barrier, look
	 * once: what is published later rings the doorbell (I6). */
	consumer_want_doorbell(&q->consumer, true);
	barrier_for_all();
	crew_lock(&engine->crew);
	result = bells_reserve(&q->account->bells, q, &q->doorbell);
	if (!result) {
		engine->doorbells.queues++;
		LIST_INSERT_HEAD(&engine->queues, q, entry);
		LIST_INSERT_HEAD(&q->memory->queues, q, of_memory);
		poll_if_submitted(engine, q);
	}
	crew_unlock(&engine->crew);
	if (result) {
		queue_free(q);
		return result;
	}
	result = bells_listen(&q->account->bells, q->doorbell_fd, q->doorbell, EPOLLIN | EPOLLET);
	if (result) {
		engine_queue_remove(q, NULL);
		return result;
	}
	*queue = q;
	return 0;
}

void engine_queue_look(struct engine_queue *queue)
{
	struct engine *engine = queue->account->engine;

	/* what a producer published before it rang in vain */
	barrier_for_all();
	crew_lock(&engine->crew);
	poll_if_submitted(engine, queue);
	crew_unlock(&engine->crew);
}

/* End what is in progress. Returns what has to be waited for before the next attempt, or NULL. */
static struct wait *try_remove_queue(struct engine *engine, struct engine_queue *queue)
{
	queue->removed = true;
	if (queue->leased)
		return &queue->wait;
	if (crew_stop_peeking(&engine->crew, queue))
		return &engine->crew.peeks;
	flights_cancel(&queue->flights, -ECANCELED);
	finish_flights(engine, queue);
	return queue->flights.active > 0 ? &queue->wait : NULL;
}

/* What has been taken and has not begun. */
static void leave_fenced(struct engine_queue *queue)
{
	queue->order.fenced = false;
	consumer_leave(&queue->consumer);
	consumer_note_in_flight(&queue->consumer);
}

void engine_queue_remove(struct engine_queue *queue, struct engine_counters *counters)
{
	struct engine *engine = queue->account->engine;
	struct wait *obstacle;

	crew_lock(&engine->crew);
	while ((obstacle = try_remove_queue(engine, queue)))
		crew_await_progress(&engine->crew, obstacle);
	if (queue->order.fenced)
		leave_fenced(queue);
	if (queue->turn.polled)
		scheduler_unpoll(&engine->scheduler, queue);
	bells_release(&queue->account->bells, queue->doorbell);
	/* the analyzer takes the engine for one that queue_new() has not stored */
	engine->doorbells.queues--; /* NOLINT(clang-analyzer-core.NullDereference) */
	LIST_REMOVE(queue, entry);
	LIST_REMOVE(queue, of_memory);
	crew_unlock(&engine->crew);
	bells_ignore(&queue->account->bells, queue->doorbell_fd);
	if (counters)
		consumer_counters(&queue->consumer, counters);
	queue_free(queue);
}

void engine_queue_counters(struct engine_queue *queue, struct engine_counters *counters)
{
	consumer_counters(&queue->consumer, counters);
}

int engine_queue_signal(struct engine_queue *queue)
{
	return consumer_send(&queue->consumer) ? 0 : -ENOBUFS;
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
	finish_flights(engine, queue);
}

/* Returns whether no operation uses it any more. */
static bool try_remove_region(struct engine *engine, struct engine_memory *memory,
			      struct memory_region *r, uint32_t region)
{
	struct engine_queue *queue;

	memory->paused += !r->leaving;
	r->leaving = true;
	if (any_leased(memory))
		return false;
	memory_hide(r);
	LIST_FOREACH(queue, &memory->queues, of_memory)
		end_users(engine, queue, region);
	LIST_FOREACH(queue, &memory->queues, of_memory)
		if (queue->leased || flights_use(&queue->flights, region))
			return false;
	return true;
}

/* When the last region that was leaving has gone: operations may begin again. */
static void end_pause(struct engine *engine, struct engine_memory *memory)
{
	struct engine_queue *queue;
	bool any = false;

	if (--memory->paused > 0)
		return;
	LIST_FOREACH(queue, &memory->queues, of_memory)
		if (queue->turn.retired_paused && !queue->turn.polled) {
			scheduler_poll(&engine->scheduler, queue, monotonic_ns());
			any = true;
		} else {
			scheduler_notice(queue);
		}
	if (any)
		supervisor_wake(&engine->crew, &engine->doorbells);
}

int engine_region_remove(struct engine_memory *memory, uint32_t region)
{
	struct engine *engine = memory->engine;
	struct memory_region *r;

	crew_lock(&engine->crew);
	/* after a wait, another thread may have removed it */
	while ((r = memory_find(memory, region)) && !try_remove_region(engine, memory, r, region))
		crew_await_progress(&engine->crew, &memory->wait);
	if (r) {
		r->leaving = false;
		memory_remove(memory, r);
		end_pause(engine, memory);
	}
	crew_unlock(&engine->crew);
	return r ? 0 : -ENOENT;
}
