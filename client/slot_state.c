/* SPDX-License-Identifier: BSD-3-Clause */
#include "slot_state.h"

#include <sched.h>

#include "cancellation.h"
#include "fork.h"
#include "ring.h"
#include "ring_progress.h"

/* How often a poller yields the CPU while it waits for a waker to return. */
#define WAKER_YIELDS 100

/* The wakers that this thread is calling, the innermost first: a waker that waits for a future may
 * call others. */
struct call {
	struct slot *slot; /* NULL once its future has been polled to its end */
	struct call *outer;
};
static _Thread_local struct call *calls;

bool mover_in_waker(void)
{
	return calls != NULL;
}

/* The completion of one operation has come. */
static void finish(struct mover *mover, struct slot *slot, int result)
{
	slot->result = result;
	if (slot->notified)
		mover->notified--;
	/* relaxed: a poller that sees the change polls, and that reads the state */
	__atomic_store_n(&slot->monitored, 1, __ATOMIC_RELAXED);
	if (!slot->waker.wake) {
		slot_set_state(slot, SLOT_COMPLETE);
		return;
	}
	slot_set_state(slot, SLOT_DUE);
	TAILQ_INSERT_TAIL(&mover->due, slot, due);
}

void mover_collect(struct mover *mover)
{
	for (unsigned i = 0; i < mover->rings; i++) {
		struct vdm_ring *ring = mover->ring[i];

		ring_poll(ring);
		while (ring_unseen(ring) > 0) {
			struct vdm_cqe *cqe;

			ring_list_unseen(ring, &cqe, 1);
			finish(mover, slots_at(&mover->slots, (uint32_t)cqe->user_data),
			       cqe->result);
			vdm_ring_cq_advance(ring, 1);
		}
	}
}

/* Complete the operation, unless the poller has looked before its waker returned and has to be
 * woken again. */
static bool waker_returned(struct slot *slot)
{
	uint32_t state = SLOT_WAKING;

	/* success: release; partner: slot_state(). Failure: acquire; partner:
	 * look_while_waking() */
	if (atomic_compare_exchange_strong_explicit(&slot->state, &state, SLOT_COMPLETE,
						    memory_order_release, memory_order_acquire))
		return true;
	slot_set_state(slot, SLOT_WAKING);
	return false;
}

bool mover_wake(struct mover *mover)
{
	struct slot *slot;

	while ((slot = TAILQ_FIRST(&mover->due))) {
		struct call call = {.slot = slot, .outer = calls};

		TAILQ_REMOVE(&mover->due, slot, due);
		slot_set_state(slot, SLOT_WAKING);
		pthread_mutex_unlock(&mover->lock);
		calls = &call;
		do
			slot->waker.wake(slot->waker.data);
		while (call.slot && !waker_returned(slot));
		calls = call.outer;
		if (fork_happened(mover->epoch))
			return false;
		pthread_mutex_lock(&mover->lock);
	}
	return true;
}

void mover_leave(struct mover *mover)
{
	if (mover_wake(mover))
		pthread_mutex_unlock(&mover->lock);
}

/* Collect completions. The caller is the poller of `slot` and holds the lock: its waker need not be
 * called. */
static void collect_for(struct mover *mover, struct slot *slot)
{
	if (slot_state(slot) != SLOT_RUNNING)
		return;

	struct future_waker waker = slot->waker;

	slot->waker.wake = NULL;
	mover_collect(mover);
	if (slot_state(slot) == SLOT_RUNNING)
		slot->waker = waker;
}

/* The poller has come before the thread that would have called its waker. */
static void take_from_due(struct mover *mover, struct slot *slot)
{
	pthread_mutex_lock(&mover->lock);
	if (slot_state(slot) == SLOT_DUE) {
		TAILQ_REMOVE(&mover->due, slot, due);
		slot_set_state(slot, SLOT_COMPLETE);
	}
	pthread_mutex_unlock(&mover->lock);
}

/* Wait a moment for the waker to return, or have it called again. */
static void look_while_waking(struct slot *slot)
{
	for (unsigned i = 0; slot_state(slot) == SLOT_WAKING; i++) {
		uint32_t state = SLOT_WAKING;

		if (i < WAKER_YIELDS)
			sched_yield();
		else /* release; partner: waker_returned() */
			atomic_compare_exchange_strong_explicit(&slot->state, &state, SLOT_SEEN,
								memory_order_release,
								memory_order_acquire);
	}
}

/* Whether this thread is in the waker of that slot. If so, the operation is complete. */
static bool is_polled_by_its_waker(struct slot *slot)
{
	for (struct call *call = calls; call; call = call->outer) {
		if (call->slot == slot) {
			call->slot = NULL;
			slot_set_state(slot, SLOT_COMPLETE);
			return true;
		}
	}
	return false;
}

void slot_look(struct slot *slot)
{
	WITHOUT_CANCELLATION;
	struct mover *mover = slot->mover;

	/* a forked child has no thread that would change the state */
	if (fork_happened(mover->epoch)) {
		slot_complete(slot, fork_error());
		return;
	}
	if (slot->just_started) { /* in the same poll, where completions have been collected */
		slot->just_started = false;
	} else if (slot_state(slot) == SLOT_RUNNING && pthread_mutex_trylock(&mover->lock) == 0) {
		/* if another thread has the lock, it collects, and the next poll sees the result */
		collect_for(mover, slot);
		mover_leave(mover);
	}
	if (slot_state(slot) == SLOT_DUE)
		take_from_due(mover, slot);
	if (!is_polled_by_its_waker(slot))
		look_while_waking(slot);
}
