/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * While a worker moves a large piece, another account may come to want something. The worker looks for that every few
 * KiB, at the words that the producers would write, and without the lock: a locked instruction would wait for all that
 * has been stored around the cache, as a fence does (75 ns, in which 2 KiB are moved).
 *
 * What it looks at may be about to be unmapped. So who removes a queue takes the right to look away, and passes a barrier
 * for the worker too (membarrier(2)): then either the worker sees that it may not look, or he that it is looking.
 */
#include <errno.h>

#include "base/barrier.h"
#include "descriptor.h"
#include "internal.h"

/* Whether all queues of an account that are not ready, and might soon be, are watched. */
static bool watch_account(struct watch *watch, struct engine_account *account)
{
	struct engine_queue *queue;

	for (unsigned i = 0; i < PRIORITIES; i++) {
		TAILQ_FOREACH(queue, &account->queues[i], entry) {
			if (queue_ready(queue)) {
				if (!queue->handing_out)
					return false; /* small operations wait for their turn */
			} else if (watch->count == WATCHED) {
				return false;
			} else if (queue_waits_for_producer(queue, &watch->watched[watch->count])) {
				watch->count++;
			}
		}
	}
	return true;
}

bool watch_others(struct worker *worker, const struct engine_account *account)
{
	struct engine *engine = worker->engine;
	struct watch *watch = &worker->watch;
	struct engine_account *other;
	bool all = engine->may_watch;

	watch->count = 0;
	/* relaxed: changed under the lock; partner: watch_wanted() */
	atomic_store_explicit(&watch->revoked, false, memory_order_relaxed);
	for (int priority = ENGINE_PRIORITY_HIGH; all && priority >= (int)account->priority; priority--)
		TAILQ_FOREACH(other, &engine->accounts[ENGINE_PRIORITY_HIGH - priority], entry)
			all = all && (other == account || watch_account(watch, other));
	if (!all)
		watch->count = 0;
	return all;
}

bool watch_wanted(struct worker *worker)
{
	struct watch *watch = &worker->watch;
	bool wanted = false;

	/* relaxed, and for the compiler only: the processor's barrier is watch_revoke()'s, which then reads this */
	atomic_store_explicit(&watch->looking, true, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	if (!atomic_load_explicit(&watch->revoked, memory_order_relaxed))
		for (unsigned i = 0; i < watch->count && !wanted; i++) {
			const struct watched *w = &watch->watched[i];

			wanted = descriptor_state(w->slot, w->position, w->entries) != DESCRIPTOR_EMPTY;
		}
	/* release; partner: watch_revoke(), acquire: the look is over */
	atomic_store_explicit(&watch->looking, false, memory_order_release);
	return wanted;
}

static bool watches(const struct worker *worker, const struct engine_queue *queue)
{
	for (unsigned i = 0; i < worker->watch.count; i++)
		if (worker->watch.watched[i].queue == queue)
			return true;
	return false;
}

int watch_revoke(struct engine *engine, const struct engine_queue *queue)
{
	bool any = false;

	for (unsigned i = 0; i < engine->threads; i++)
		if (watches(&engine->worker[i], queue)) {
			/* relaxed: the barrier orders it; partner: watch_wanted() */
			atomic_store_explicit(&engine->worker[i].watch.revoked, true, memory_order_relaxed);
			any = true;
		}
	if (!any)
		return 0;
	barrier_for_own_threads();
	for (unsigned i = 0; i < engine->threads; i++)
		if (watches(&engine->worker[i], queue) &&
		    atomic_load_explicit(&engine->worker[i].watch.looking, memory_order_acquire))
			return -EAGAIN;
	return 0;
}
