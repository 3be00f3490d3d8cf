/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rings and regions come and go while workers serve others. Each is removed in attempts: an attempt
 * forbids new work with it, and fails with -EAGAIN as long as a worker has it in hand.
 */
#include <errno.h>

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
	return memory_new(engine, max_regions, memory);
}

void engine_memory_delete(struct engine_memory *memory)
{
	if (!memory)
		return;
	crew_lock(&memory->engine->crew);
	supervisor_forget(&memory->engine->supervisor, &memory->wait);
	crew_unlock(&memory->engine->crew);
	memory_free(memory);
}

int engine_region_add(struct engine_memory *memory, void *base, size_t length, bool writable,
		      uint32_t *region)
{
	return memory_add(memory, base, length, writable, region);
}

/*
 * After an attempt at removing something that failed: wait for what is in the way of it, if
 * `waiter` is NULL, and return whether to try again. Holding the crew's lock.
 */
static bool try_again(struct engine *engine, struct wait *wait, struct wait *obstacle,
		      const struct engine_waiter *waiter)
{
	if (waiter) {
		supervisor_await(&engine->supervisor, wait, waiter);
		return false;
	}
	crew_await_progress(&engine->crew, obstacle);
	return true;
}

/* Signal for completions that were posted here. The crew's lock is held, but not while the client
 * is woken. */
static void signal_leased(struct engine *engine, struct engine_queue *queue)
{
	queue->leased = true;
	crew_unlock(&engine->crew);
	queue_signal(queue);
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

int engine_queue_add(struct engine *engine, const struct engine_queue_options *options,
		     struct engine_queue **queue)
{
	struct engine_queue *q;

	if (!vdm_ring_entries_valid(options->entries))
		return -EINVAL;

	int result = queue_new(options, most_flights(engine, options->entries), &q);

	if (result)
		return result;
	/* no worker polls it yet, and its producer has not begun */
	consumer_want_doorbell(&q->consumer, true);
	crew_lock(&engine->crew);
	result = bells_reserve(&q->account->bells, q, &q->doorbell);
	if (!result) {
		engine->doorbells.queues++;
		LIST_INSERT_HEAD(&engine->queues, q, entry);
		LIST_INSERT_HEAD(&q->memory->queues, q, of_memory);
	}
	crew_unlock(&engine->crew);
	if (result) {
		queue_free(q);
		return result;
	}
	result = bells_listen(&q->account->bells, q->doorbell_fd, q->doorbell, EPOLLIN | EPOLLET);
	if (result) {
		engine_queue_remove(q, NULL, NULL);
		return result;
	}
	*queue = q;
	return 0;
}

/* End what is in progress. If -EAGAIN is returned, `obstacle` is what to wait for. */
static int try_remove_queue(struct engine *engine, struct engine_queue *queue,
			    struct wait **obstacle)
{
	queue->removed = true;
	*obstacle = &queue->wait;
	if (queue->leased)
		return -EAGAIN;
	if (crew_stop_peeking(&engine->crew, queue)) {
		*obstacle = &engine->crew.peeks;
		return -EAGAIN;
	}
	flights_cancel(&queue->flights, -ECANCELED);
	finish_flights(engine, queue);
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
	struct wait *obstacle;
	int result;

	crew_lock(&engine->crew);
	while ((result = try_remove_queue(engine, queue, &obstacle)) == -EAGAIN &&
	       try_again(engine, &queue->wait, obstacle, waiter))
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
	bells_release(&queue->account->bells, queue->doorbell);
	engine->doorbells.queues--;
	LIST_REMOVE(queue, entry);
	LIST_REMOVE(queue, of_memory);
	crew_unlock(&engine->crew);
	bells_ignore(&queue->account->bells, queue->doorbell_fd);
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
	finish_flights(engine, queue);
}

static int try_remove_region(struct engine *engine, struct engine_memory *memory,
			     struct memory_region *r, uint32_t region)
{
	struct engine_queue *queue;

	memory->paused += !r->leaving;
	r->leaving = true;
	if (any_leased(memory))
		return -EAGAIN;
	memory_hide(r);
	LIST_FOREACH(queue, &memory->queues, of_memory)
		end_users(engine, queue, region);
	LIST_FOREACH(queue, &memory->queues, of_memory)
		if (queue->leased || flights_use(&queue->flights, region))
			return -EAGAIN;
	return 0;
}

/* When the last region that was leaving has gone: operations may begin again. */
static void end_pause(struct engine *engine, struct engine_memory *memory)
{
	struct engine_queue *queue;
	bool any = false;

	if (--memory->paused > 0)
		return;
	supervisor_forget(&engine->supervisor, &memory->wait);
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

int engine_region_remove(struct engine_memory *memory, uint32_t region,
			 const struct engine_waiter *waiter)
{
	struct engine *engine = memory->engine;
	struct memory_region *r;
	int result;

	crew_lock(&engine->crew);
	do {
		/* after a wait, another thread may have removed it */
		r = memory_find(memory, region);
		result = r ? try_remove_region(engine, memory, r, region) : -ENOENT;
	} while (result == -EAGAIN && try_again(engine, &memory->wait, &memory->wait, waiter));
	if (!result) {
		r->leaving = false;
		memory_remove(memory, r);
		end_pause(engine, memory);
	}
	crew_unlock(&engine->crew);
	return result;
}
