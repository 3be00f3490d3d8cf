/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread that calls wakers. It is started when the first poller wants to sleep. It sleeps too
 * while it has nothing to do: in pthread_cond_wait() while no operation in flight has a poller to
 * notify, else in poll(2) on the rings' descriptors, without a timeout.
 *
 * No wakeup is lost: the thread peeks until the ring is empty, which arms the descriptor and looks
 * once more (I6), and holds the lock meanwhile. A completion that comes later makes the descriptor
 * readable, whichever thread collects it.
 */
#ifndef VDM_CLIENT_WAKER_H
#define VDM_CLIENT_WAKER_H

#include <stdbool.h>

#include "mover.h"

/* Have completions collected while pollers sleep: start the thread unless it runs. The caller holds
 * the mover's lock. False: no thread can be had. */
bool waker_thread_engage(struct mover *mover);
/* Stop the thread and wait for its end. False: it is the calling thread, and ends later. */
bool waker_thread_stop(struct mover *mover);
/* Called by the thread itself: it releases the mover when it ends. */
void waker_thread_abandon(struct mover *mover);

#endif
