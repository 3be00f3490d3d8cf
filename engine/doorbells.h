/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The doorbells of all queues, by account, and the descriptor on which a worker sleeps until one
 * rings. Each account has an epoll of its own for the doorbells of its queues; the epoll here tells
 * which accounts have bells. An account that rings all the time makes only its own bells wait.
 */
#ifndef VDM_ENGINE_DOORBELLS_H
#define VDM_ENGINE_DOORBELLS_H

#include <stdbool.h>

#include "bells.h"

/* From how many accounts bells are taken at a time; those of the others are next. */
#define ACCOUNTS_AT_ONCE 16

struct doorbells {
	struct bells accounts; /* level-triggered: rings while an account has bells left */
	int kick_fd;           /* wakes the worker that sleeps on them; constant */
	/* Guarded by the crew's lock: */
	unsigned queues;      /* that have a doorbell */
	bool kicked_for_good; /* the engine ends */
};

/* Returns 0 or a negative errno; doorbells_close() is called either way. */
int doorbells_open(struct doorbells *doorbells);
void doorbells_close(struct doorbells *doorbells);

/* Without the crew's lock: wait until some accounts have bells or `timeout_ms` has passed, -1: for
 * any time. Returns how many events there are. */
int doorbells_wait(const struct doorbells *doorbells, int timeout_ms,
		   struct epoll_event events[ACCOUNTS_AT_ONCE]);

/* Holding the lock: whether an event is a kick. It is answered with this. */
bool doorbells_kicked(const struct doorbells *doorbells, const struct epoll_event *event);

/* Wake the worker that sleeps on them. Any thread. */
void doorbells_kick(const struct doorbells *doorbells);

/* Wake it for the engine's end: no worker takes that kick away from the one that sleeps. Holding
 * the lock. */
void doorbells_kick_for_good(struct doorbells *doorbells);

#endif
