/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * States of a slot, and what changes them:
 *
 *   NEW -> RUNNING       its poller, with the lock, before the operation is on the ring
 *   RUNNING -> COMPLETE  the thread that collects its completion, with the lock: no waker
 *   RUNNING -> DUE       the thread that collects its completion, with the lock: a waker
 *   DUE -> WAKING        the thread that calls the waker, with the lock
 *   DUE -> COMPLETE      its poller, with the lock: a poller that looks need not be woken
 *   WAKING -> COMPLETE   the thread that called the waker, without the lock, after its return
 *   WAKING -> SEEN       its poller, if it has looked before the waker returned
 *   SEEN -> WAKING       the thread that called the waker, before it calls it once more
 *
 * The waker is called between the operation's end and the moment at which its poller sees it
 * complete, so a poller that has seen it may free what the waker uses. A poller that is woken and
 * looks before the waker has returned waits a moment for the return. If it does not come (the waker
 * may be waiting for a lock that the poller holds), the poller is told that the operation runs, and
 * is woken again. A waker may poll its own future to its end, wait for another one, and delete the
 * mover: a thread knows which wakers it is in.
 */
#ifndef VDM_CLIENT_SLOT_STATE_H
#define VDM_CLIENT_SLOT_STATE_H

#include "mover.h"
#include "slots.h"

enum slot_state {
	SLOT_NEW, /* created, or started without success */
	SLOT_RUNNING,
	SLOT_DUE,    /* its waker is to be called: it is in mover->due */
	SLOT_WAKING, /* its waker is being called; complete afterwards */
	SLOT_SEEN,   /* its waker is being called, and its poller has looked meanwhile */
	SLOT_COMPLETE
};

static inline void slot_set_state(struct slot *slot, enum slot_state state)
{
	/* release; partner: slot_state() */
	atomic_store_explicit(&slot->state, state, memory_order_release);
}

static inline enum slot_state slot_state(const struct slot *slot)
{
	/* acquire; partner: slot_set_state(): a thread that sees COMPLETE sees the result, and the
	 * bytes moved */
	return (enum slot_state)atomic_load_explicit(&slot->state, memory_order_acquire);
}

static inline void slot_complete(struct slot *slot, int result)
{
	slot->result = result;
	slot_set_state(slot, SLOT_COMPLETE);
}

/* Look at an operation that was not complete a moment ago; by its poller. */
void slot_look(struct slot *slot);

/* The caller of these holds the mover's lock. */

/* Collect the completions that are there. */
void mover_collect(struct mover *mover);

/* Call the wakers that are due, without the lock during a call. False in a child that a waker has
 * forked: the lock is not held there. */
bool mover_wake(struct mover *mover);

/* Call the wakers that are due, and release the lock. */
void mover_leave(struct mover *mover);

/* Whether this thread is in a waker that a mover has called. If it sleeps, there may be no thread
 * left to wake it. */
bool mover_in_waker(void);

#endif
