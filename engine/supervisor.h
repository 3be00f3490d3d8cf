/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client can stall faults on its own memory: the kernel lets a fault wait while a hole is being
 * punched around it, for as long as the thread that punches takes (shmem_fault() in mm/shmem.c of
 * Linux). A worker that waits for such a page is stuck: a spare one replaces it, and the account
 * whose memory it is gets no other worker until the stuck one is back.
 *
 * The thread that runs the engine looks after the workers at intervals, and only while one is
 * awake.
 */
#ifndef VDM_ENGINE_SUPERVISOR_H
#define VDM_ENGINE_SUPERVISOR_H

#include "crew.h"
#include "doorbells.h"

struct supervisor {
	int timer_fd; /* -1: no thread looks after the workers */
	bool set;     /* it is running. Guarded by the crew's lock */
};

/* Without supervisor_open(), which returns 0 or a negative errno, no worker is replaced. */
void supervisor_init(struct supervisor *supervisor);
int supervisor_open(struct supervisor *supervisor);
void supervisor_close(struct supervisor *supervisor);

/* Holding the crew's lock: */

/* A worker has got up: have it looked after. */
void supervisor_begin(struct supervisor *supervisor);

/* Have a worker poll the rings if none does: one that sleeps does not know that it should. */
void supervisor_wake(struct crew *crew, const struct doorbells *doorbells);

/* Whether there are more workers than there should be, now that a stuck one has come back. */
bool supervisor_has_surplus(const struct crew *crew);

/* Without the lock, by the thread that runs the engine: find stuck workers and replace them. */
void supervisor_look(struct supervisor *supervisor, struct crew *crew, struct scheduler *scheduler,
		     const struct doorbells *doorbells);

/*
 * The file that tells what a worker's thread is doing, proc(5). The thread opens it when it starts,
 * in the place of a descriptor that was reserved, so that a spare worker needs no new one. It stays
 * open, because any process that sees it can put locks on it, and close(2) looks at all of those.
 */
int supervisor_reserve_stats(struct crew *crew);
int thread_open_stat(int reserved);

/* Whether that thread waits in the kernel: neither runs, nor would if it had a CPU, nor is
 * stopped. */
bool thread_waits(int stat_fd);

#endif
