/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whose turn it is. Accounts take turns by start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM
 * 1996): each is served as many bytes as the others, by weight, and an account that had nothing to
 * do for a moment is next, with no credit for that moment. The queues of one account take turns by
 * deficit round robin (Shreedhar and Varghese, SIGCOMM 1995), in bytes, which costs less where
 * there are many. So an account gains nothing by more rings, more connections or larger operations.
 * Accounts of a higher priority go first, and within an account queues of a higher priority.
 *
 * Only polled queues are here. One that has been quiet leaves, and its producer rings a doorbell to
 * bring it back, so that silent clients cost the others nothing.
 *
 * Guarded by the crew's lock, except for spin_us.
 */
#ifndef VDM_ENGINE_SCHEDULER_H
#define VDM_ENGINE_SCHEDULER_H

#include "account.h"
#include "pieces.h"

struct scheduler {
	struct account_list accounts[PRIORITIES]; /* that have polled queues and no stuck worker */
	uint64_t virtual_time[PRIORITIES];        /* of the account that was picked last */
	unsigned accounts_polled;
	unsigned queues_polled;
	uint64_t retire_after; /* ns: no barrier is passed for quiet queues before that */
	uint64_t backlog;      /* bytes served since a worker last found nothing to do */
	/* relaxed: a setting, which orders nothing; partner: the caller of scheduler_set_spin() */
	_Atomic uint32_t spin_us; /* how long a quiet queue is polled */
};

void scheduler_init(struct scheduler *scheduler, uint32_t spin_us);

/* By any thread. */
void scheduler_set_spin(struct scheduler *scheduler, uint32_t spin_us);

/* The queue whose turn it is, or NULL if none is found ready. Of many queues some are looked at,
 * and others the next time. */
struct engine_queue *scheduler_pick(struct scheduler *scheduler);

/* A queue may be ready now, for another reason than a submission: have it be found at once. */
void scheduler_notice(struct engine_queue *queue);

/* What was served for a queue, in bytes; and how much of it was not, after all. */
void scheduler_charge(struct scheduler *scheduler, struct engine_queue *queue, size_t cost);
void scheduler_refund(struct engine_queue *queue, size_t cost);

/* What else was done for an account, in bytes. */
void scheduler_charge_account(struct engine_account *account, size_t cost);

/* Poll a queue from now on, or no more. `now`: ns, CLOCK_MONOTONIC. */
void scheduler_poll(struct scheduler *scheduler, struct engine_queue *queue, uint64_t now);
void scheduler_unpoll(struct scheduler *scheduler, struct engine_queue *queue);

/* `weight` is clamped to 1 to 1000. */
void scheduler_set_turn(struct scheduler *scheduler, struct engine_account *account,
			unsigned weight, enum engine_priority priority);

/* A worker is stuck at memory of the account: it gets no turn until as many have resumed as were
 * suspended. */
void scheduler_suspend(struct scheduler *scheduler, struct engine_account *account);
void scheduler_resume(struct scheduler *scheduler, struct engine_account *account);

/*
 * Leave queues that have been quiet for a while to their doorbells: of many, some at a time. (A
 * worker that was preempted for that long finds all of them quiet, and gives the CPU up to the
 * thread that wanted it.)
 */
void scheduler_retire_quiet(struct scheduler *scheduler, uint64_t now);

/* How large a piece may be now. */
static inline size_t scheduler_piece_size(const struct scheduler *scheduler)
{
	if (scheduler->accounts_polled > 1)
		return PIECE_OTHERS;
	return scheduler->queues_polled > 1 ? PIECE_SHARED : PIECE_ALONE;
}

#endif
