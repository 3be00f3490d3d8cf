/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the movers have in common: operations that are created without a ring slot, started on a native ring by
 * any thread, and found again by the index that travels as their user_data.
 */
#ifndef VDM_CLIENT_MOVER_INTERNAL_H
#define VDM_CLIENT_MOVER_INTERNAL_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "libvdm/movers.h"
#include "libvdm/ring.h"

/* The rings of a mover: the first takes everything that the second does not. */
enum { MOVER_RINGS = 2 };

/* Slots are allocated in blocks, and never freed before the mover is. 65536 operations may exist. */
enum { SLOTS_PER_BLOCK = 1024, MOVER_BLOCKS = 64 };

enum slot_state {
	SLOT_NEW,      /* created, or started without success */
	SLOT_RUNNING,
	SLOT_DUE,      /* its waker is to be called: it is in mover->due */
	SLOT_WAKING,   /* its waker is being called: complete in a moment */
	SLOT_SEEN,     /* the same, and its poller has looked meanwhile */
	SLOT_COMPLETE
};

/* The mover's part of an operation. */
struct slot {
	struct mover *mover;
	_Atomic uint32_t state;     /* enum slot_state; see mover.c */
	_Atomic uint32_t next_free; /* index + 1 */
	uint32_t index;
	int32_t result;             /* 0 or a negative errno; written before the state changes */
	bool fresh;                 /* started, and not yet looked at. Its poller's. */
	bool notified;              /* counted in mover->notified */
	struct future_waker waker;  /* wake is NULL: none. Guarded by the lock, read by its poller. */
	uint64_t word;              /* FUTURE_NOTIFIER_POLLER: changes when it is complete */
	TAILQ_ENTRY(slot) due;      /* in mover->due, while its state is SLOT_DUE */
};
static_assert(sizeof(struct slot) <= 256, "small, for there may be many thousands");

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
	_Atomic uint64_t free;      /* changes << 32 | index + 1 of the first free slot */
	unsigned block_count;       /* guarded by the lock */
	struct slot *blocks[MOVER_BLOCKS];
};

/*
 * Set up a mover with `rings` rings, which it owns from now on, also on failure. Returns 0 or a negative errno with
 * its sentence.
 */
int mover_init(struct mover *mover, struct vdm_ring *const ring[], unsigned rings, enum future_notifier_type notifier);

/* Close its rings and free what it has, after mover_delete() or a failure. */
void mover_fini(struct mover *mover);

/*
 * Finish what is in flight, calling the wakers, stop the thread, and have `release` free the mover: after the return
 * if one of its wakers calls this. In a forked child nothing is finished.
 */
void mover_delete(struct mover *mover, void (*release)(struct mover *));

/* mover_slots.c: without the lock, except for mover_grow(), which takes it, as mover_take_slot() does through it. */
struct slot *mover_slot(struct mover *mover, uint32_t index);
/* NULL: too many operations exist, or memory is short. */
struct slot *mover_take_slot(struct mover *mover);
void mover_put_slot(struct mover *mover, struct slot *slot);
/* Add a block, unless there is a free slot by now. Returns whether there may be one. */
bool mover_grow(struct mover *mover);

/* mover_reconnect.c: now and then, see whether the daemon has gone, and if so put a ring to another one in the place of
 * the lost one. Holding the lock, but not while it connects. */
void mover_reconnect(struct mover *mover);

/* Collect the completions that are there, holding the lock. */
void mover_collect(struct mover *mover);

/* Call the wakers that are due, holding the lock but not during a call. False in a child that a waker has forked:
 * nothing is held there. */
bool mover_wake(struct mover *mover);

/* Do that, and let go of the lock. */
void mover_leave(struct mover *mover);

/* Whether this thread is in a waker that a mover has called. If it sleeps, there may be no thread left to wake it. */
bool mover_in_waker(void);

/* waker.c: see that somebody collects completions while pollers sleep. Holding the lock. Returns false if no
 * thread can be had, and then nobody does. */
bool waker_thread_engage(struct mover *mover);
/* Stop it, and wait for its end; unless it is the calling thread: then returns false. */
bool waker_thread_stop(struct mover *mover);
/* By the thread itself: release the mover in the end. */
void waker_thread_abandon(struct mover *mover);

#endif
