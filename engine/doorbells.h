/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The doorbells of all queues, and the descriptor on which a worker sleeps until one rings. Guarded
 * by the crew's lock, except doorbells_wait() and doorbells_kick().
 */
#ifndef VDM_ENGINE_DOORBELLS_H
#define VDM_ENGINE_DOORBELLS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct engine_queue;

/* How many are answered at a time. */
#define DOORBELLS_AT_ONCE 32

struct doorbell {
	struct engine_queue *queue; /* NULL: free */
	uint32_t generation; /* an event of the slot's last tenant is not taken for one of this */
};

struct doorbells {
	int epoll_fd;
	int kick_fd; /* wakes the worker that sleeps on them */
	struct doorbell *slots;
	uint32_t size;
	uint32_t count;       /* of those that are taken */
	bool kicked_for_good; /* the engine ends */
};

/* Returns 0 or a negative errno; doorbells_close() is called either way. */
int doorbells_open(struct doorbells *doorbells);
void doorbells_close(struct doorbells *doorbells);

/* Add a queue's eventfd and store its slot. Returns 0 or a negative errno. */
int doorbells_add(struct doorbells *doorbells, struct engine_queue *queue, int fd, uint32_t *slot);
void doorbells_remove(struct doorbells *doorbells, uint32_t slot, int fd);

/* Wait until some have rung or `timeout_ms` has passed, -1: for any time. Returns how many events
 * there are. */
int doorbells_wait(const struct doorbells *doorbells, int timeout_ms,
		   struct epoll_event events[DOORBELLS_AT_ONCE]);

/* The queue that an event is for; NULL: a kick, which is answered with this, or a queue that is
 * gone. */
struct engine_queue *doorbells_queue(const struct doorbells *doorbells,
				     const struct epoll_event *event);

/* Wake the worker that sleeps on them. Any thread. */
void doorbells_kick(const struct doorbells *doorbells);

/* Wake it for the engine's end: no worker takes that kick away from the one that sleeps. */
void doorbells_kick_for_good(struct doorbells *doorbells);

#endif
