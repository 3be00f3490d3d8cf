/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the movers have in common: operations that are created without a ring slot, started on a native ring by
 * any thread, and found again by the index that travels as their user_data.
 */
#ifndef VDM_CLIENT_MOVER_H
#define VDM_CLIENT_MOVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "libvdm/movers.h"
#include "libvdm/ring.h"
#include "slots.h"

/* The rings of a mover: the first takes everything that the second does not. */
enum { MOVER_RINGS = 2 };

struct waker_thread {
	pthread_t thread;
	pthread_cond_t work;        /* mover->notified is no longer 0, or `stop` is set */
	int kick_fd;                /* eventfd in its poll(2): look again what there is to do */
	bool started, stop;
	bool abandoned;             /* nobody joins it: it releases the mover */
};

struct mover {
	struct vdm vdm;             /* first: what op_new is given */
	uint32_t epoch;             /* of the process, see fork.h */
	enum future_notifier_type notifier;
	pthread_mutex_t lock;       /* guards the rings, and slots that are running */
	struct vdm_ring *ring[MOVER_RINGS];
	unsigned rings;             /* none: operations are executed when they are started */
	bool second;                /* the second may be used */
	bool reconnecting;          /* a thread does, without the lock */
	int64_t next_look_ms;       /* CLOCK_MONOTONIC: when to look whether the daemon has gone, */
	int64_t next_attempt_ms;    /* and from when on to connect to another */
	uint32_t notified;          /* operations in flight that somebody sleeps for */
	TAILQ_HEAD(, slot) due;     /* ended; their wakers are to be called */
	struct waker_thread waker;
	void (*release)(struct mover *);
	struct slots slots;
};

#endif
