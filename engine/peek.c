/* SPDX-License-Identifier: BSD-3-Clause */
#include "peek.h"

#include "queue.h"

/* An account with more polled queues than this is not peeked at. */
#define PEEK_LOOKS (2 * PEEK_QUEUES)

/* Whether those queues that are not ready, and might soon be, are peeked at. */
static bool add_queues(struct peek *peek, const struct queue_list *queues)
{
	struct engine_queue *queue;

	TAILQ_FOREACH(queue, queues, turn.entry) {
		if (queue_ready(queue)) {
			if (!queue->flights.open)
				return false; /* small operations wait for their turn */
		} else if (peek->count == PEEK_QUEUES) {
			return false;
		} else if (queue_waits_for_producer(queue, &peek->at[peek->count].next)) {
			peek->at[peek->count++].queue = queue;
		}
	}
	return true;
}

static bool add_account(struct peek *peek, const struct engine_account *account)
{
	bool all = account->polled <= PEEK_LOOKS;

	for (unsigned i = 0; all && i < PRIORITIES; i++)
		all = add_queues(peek, &account->queues[i].ready) &&
		      add_queues(peek, &account->queues[i].idle);
	return all;
}

bool peek_end(struct peek *peek)
{
	/* relaxed: changed with the lock held; partner: peek_wanted() */
	bool revoked = atomic_load_explicit(&peek->revoked, memory_order_relaxed);

	atomic_store_explicit(&peek->revoked, false, memory_order_relaxed);
	peek->count = 0;
	return revoked;
}

bool peek_prepare(struct peek *peek, const struct scheduler *scheduler,
		  const struct engine_account *account)
{
	const unsigned last = (unsigned)(ENGINE_PRIORITY_HIGH - account->priority);
	const struct engine_account *other;
	bool all = true;

	peek->count = 0;
	/* relaxed: changed with the lock held; partner: peek_wanted() */
	atomic_store_explicit(&peek->revoked, false, memory_order_relaxed);
	for (unsigned list = 0; all && list <= last; list++)
		TAILQ_FOREACH(other, &scheduler->accounts[list], entry)
			all = all && (other == account || add_account(peek, other));
	if (!all)
		peek_stop(peek);
	return all;
}

bool peek_wanted(struct peek *peek)
{
	bool wanted = false;

	/* relaxed, and for the compiler only: the processor's barrier is the remover's, which then
	 * asks peek_is_looking() */
	atomic_store_explicit(&peek->looking, true, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	if (!atomic_load_explicit(&peek->revoked, memory_order_relaxed))
		for (unsigned i = 0; i < peek->count && !wanted; i++)
			wanted = !next_slot_is_empty(&peek->at[i].next);
	/* release; partner: peek_is_looking(), acquire: the look is over */
	atomic_store_explicit(&peek->looking, false, memory_order_release);
	return wanted;
}

static bool peeks_at(const struct peek *peek, const struct engine_queue *queue)
{
	for (unsigned i = 0; i < peek->count; i++)
		if (peek->at[i].queue == queue)
			return true;
	return false;
}

bool peek_revoke(struct peek *peek, const struct engine_queue *queue)
{
	if (!peeks_at(peek, queue))
		return false;
	/* relaxed: the barrier orders it; partner: peek_wanted() */
	atomic_store_explicit(&peek->revoked, true, memory_order_relaxed);
	return true;
}

bool peek_is_looking(const struct peek *peek, const struct engine_queue *queue)
{
	/* acquire; partner: peek_wanted(), release */
	return peeks_at(peek, queue) && atomic_load_explicit(&peek->looking, memory_order_acquire);
}
