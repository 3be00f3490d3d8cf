/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * While a worker moves a large piece, another account may come to want something. The worker looks
 * for that every few KiB, at the words that the producers would write, and without the lock: a
 * locked instruction would wait for everything that was stored around the cache, as a fence does
 * (75 ns, in which 2 KiB are moved).
 *
 * What it looks at may be about to be unmapped. So removing a queue first revokes the workers'
 * permission to peek at it, then passes a barrier for them too (membarrier(2)): either the worker
 * sees that it may not look, or the remover sees that it is looking.
 */
#ifndef VDM_ENGINE_PEEK_H
#define VDM_ENGINE_PEEK_H

#include "consumer.h"
#include "scheduler.h"

/* More queues than this are not peeked at. */
#define PEEK_QUEUES 16

struct peek {
	/* Written by the worker, which holds the crew's lock. */
	unsigned count; /* 0: it does not peek */
	struct {
		const struct engine_queue *queue; /* to be compared only */
		struct next_slot next;
	} at[PEEK_QUEUES];
	/* partners: peek_wanted() and peek_revoke(), peek_is_looking() */
	_Atomic bool revoked, looking;
};

/*
 * Prepare to peek at all queues of accounts that would go before or beside `account`. Returns false
 * if that cannot be noticed of all of them, or if one waits for its turn already. Holding the
 * crew's lock.
 */
bool peek_prepare(struct peek *peek, const struct scheduler *scheduler,
		  const struct engine_account *account);

/* Whether one of them wants something now. By the worker, without the lock. */
bool peek_wanted(struct peek *peek);

/* Peek no more. Holding the crew's lock. */
static inline void peek_stop(struct peek *peek)
{
	peek->count = 0;
}

/*
 * Peek no more: the piece has ended. Returns whether the peek was revoked; then removals wait for
 * this. Holding the crew's lock.
 */
bool peek_end(struct peek *peek) __attribute__((warn_unused_result));

/*
 * Have the worker peek at nothing, if it peeks at the queue. Returns whether it did; then pass a
 * barrier for its thread and ask peek_is_looking(). Holding the crew's lock.
 */
bool peek_revoke(struct peek *peek, const struct engine_queue *queue);
bool peek_is_looking(const struct peek *peek, const struct engine_queue *queue);

#endif
