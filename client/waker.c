/* SPDX-License-Identifier: BSD-3-Clause */
#include "waker.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "slot_state.h"

/* Collect what is there, and arm the descriptors. The caller holds the lock. */
static void collect_and_arm(struct mover *mover)
{
	struct vdm_cqe *cqe;

	for (unsigned i = 0; i < mover->rings; i++)
		while (vdm_ring_peek_cqe(mover->ring[i], &cqe) == 0)
			mover_collect(mover);
}

static void sleep_on_rings(struct mover *mover)
{
	eventfd_t kicks;
	struct pollfd fds[MOVER_RINGS + 1] = {{.fd = mover->waker.kick_fd, .events = POLLIN}};

	for (unsigned i = 0; i < mover->rings; i++)
		fds[i + 1] =
			(struct pollfd){.fd = vdm_ring_eventfd(mover->ring[i]), .events = POLLIN};
	pthread_mutex_unlock(&mover->lock);
	poll(fds, mover->rings + 1, -1);
	pthread_mutex_lock(&mover->lock);
	if (fds[0].revents & POLLIN)
		eventfd_read(mover->waker.kick_fd, &kicks);
}

static void *waker_main(void *argument)
{
	struct mover *mover = argument;

	pthread_mutex_lock(&mover->lock);
	while (!mover->waker.stop) {
		if (mover->notified == 0) {
			pthread_cond_wait(&mover->waker.work, &mover->lock);
			continue;
		}

		collect_and_arm(mover);
		if (!TAILQ_EMPTY(&mover->due)) {
			if (!mover_wake(mover))
				return NULL; /* the main thread of a waker's forked child */
		} else if (mover->notified > 0) {
			sleep_on_rings(mover);
		}
	}

	bool abandoned = mover->waker.abandoned;

	pthread_mutex_unlock(&mover->lock);
	if (abandoned)
		mover->release(mover);
	return NULL;
}

bool waker_thread_engage(struct mover *mover)
{
	sigset_t all, before;

	if (mover->waker.started)
		return true;
	for (unsigned i = 0; i < mover->rings; i++)
		if (vdm_ring_eventfd(mover->ring[i]) < 0)
			return false;
	if (mover->waker.kick_fd < 0)
		mover->waker.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (mover->waker.kick_fd < 0)
		return false;
	/* signals are for the program's own threads */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	mover->waker.started = pthread_create(&mover->waker.thread, NULL, waker_main, mover) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (mover->waker.started)
		pthread_setname_np(mover->waker.thread, "vdm-waker");
	return mover->waker.started;
}

bool waker_thread_stop(struct mover *mover)
{
	if (!mover->waker.started)
		return true;
	pthread_mutex_lock(&mover->lock);
	mover->waker.stop = true;
	pthread_cond_signal(&mover->waker.work);
	pthread_mutex_unlock(&mover->lock);
	if (pthread_equal(pthread_self(), mover->waker.thread))
		return false;
	eventfd_write(mover->waker.kick_fd, 1);
	pthread_join(mover->waker.thread, NULL);
	return true;
}

void waker_thread_abandon(struct mover *mover)
{
	pthread_mutex_lock(&mover->lock);
	mover->waker.abandoned = true;
	pthread_mutex_unlock(&mover->lock);
	pthread_detach(mover->waker.thread);
}
