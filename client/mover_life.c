/* SPDX-License-Identifier: BSD-3-Clause */
/* Life of a mover. */
#include "mover_life.h"

#include <errno.h>
#include <unistd.h>

#include "cancellation.h"
#include "error.h"
#include "fork.h"
#include "mover_operations.h"
#include "ring.h"
#include "slot_state.h"
#include "waker.h"

int mover_init(struct mover *mover, struct vdm_ring *const ring[], unsigned rings,
	       enum future_notifier_type notifier)
{
	mover->vdm = mover_operations(rings > 0);
	mover->epoch = fork_epoch();
	mover->notifier = rings > 0 ? notifier : FUTURE_NOTIFIER_NONE;
	mover->waker.kick_fd = -1;
	pthread_mutex_init(&mover->lock, NULL);
	pthread_cond_init(&mover->waker.work, NULL);
	TAILQ_INIT(&mover->due);
	for (unsigned i = 0; i < rings; i++)
		mover->ring[i] = ring[i];
	mover->rings = rings;
	mover->second_usable = rings > 1;
	if (mover->epoch == 0 || slots_init(&mover->slots, mover->epoch) < 0) {
		mover_fini(mover);
		return fail(-ENOMEM, "out of memory");
	}
	return 0;
}

void mover_fini(struct mover *mover)
{
	if (mover->waker.kick_fd >= 0)
		close(mover->waker.kick_fd);
	for (unsigned i = 0; i < mover->rings; i++)
		vdm_ring_close(mover->ring[i]);
	slots_destroy(&mover->slots);
}

/* Wait for everything in flight, and call the wakers. */
static void finish_all(struct mover *mover)
{
	struct vdm_cqe *cqe;

	pthread_mutex_lock(&mover->lock);
	for (unsigned i = 0; i < mover->rings; i++) {
		while (ring_used(mover->ring[i]) > 0 &&
		       vdm_ring_wait_cqe(mover->ring[i], &cqe) == 0) {
			mover_collect(mover);
			if (!mover_wake(mover))
				return;
		}
	}
	mover_leave(mover);
}

void mover_delete(struct mover *mover, void (*release)(struct mover *))
{
	WITHOUT_CANCELLATION;

	mover->release = release;
	if (!fork_happened(mover->epoch)) {
		bool elsewhere = waker_thread_stop(mover);

		finish_all(mover);
		if (!elsewhere) {
			/* this is that thread: it releases the mover when the waker has returned */
			waker_thread_abandon(mover);
			return;
		}
	}
	release(mover);
}
