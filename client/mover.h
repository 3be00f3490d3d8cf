/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the movers have in common. An operation is created without an entry of a ring. Any thread
 * may start it on a ring of the mover. Its completion is matched with it by the index of its slot,
 * which is the entry's user_data.
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

/* A mover with two rings uses the first one for everything that the second one does not take. */
enum { MOVER_RINGS = 2 };

struct waker_thread {
	pthread_t thread;
	pthread_cond_t work; /* mover->notified is no longer 0, or `stop` is set */
	int kick_fd;         /* eventfd in its poll(2), which tells it to look again */
	bool started, stop;
	bool abandoned; /* it is not joined, and releases the mover itself */
};

struct mover {
	struct vdm vdm; /* first: what op_new is given */
	uint32_t epoch; /* of the process, see fork.h */
	enum future_notifier_type notifier;
	pthread_mutex_t lock; /* guards the rings and the slots that are running */
	struct vdm_ring *ring[MOVER_RINGS];
	unsigned rings;         /* 0: operations are carried out when they are started */
	bool second_usable;     /* false while only this process can run the operations */
	bool writes_back;       /* what is to be durable, from the caches, see write_back.h */
	uint32_t notified;      /* operations in flight whose pollers are to be notified */
	TAILQ_HEAD(, slot) due; /* operations that have ended; their wakers are to be called */
	struct waker_thread waker;
	void (*release)(struct mover *);
	struct slots slots;
};

#endif
