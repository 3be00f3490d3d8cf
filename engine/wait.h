/* SPDX-License-Identifier: BSD-3-Clause */
/* Waiting for workers to let go of something that is to be removed. */
#ifndef VDM_ENGINE_WAIT_H
#define VDM_ENGINE_WAIT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "engine.h"

enum wait_state {
	WAIT_NONE,
	WAIT_ON,
	WAIT_OVER,    /* the waiter is to be called */
	WAIT_CALLING, /* with others, one after the other */
	WAIT_STATES
};

/* Guarded by the crew's lock. Threads wait for one thing each, so that a removal that takes long is
 * nothing to those who work on other things. */
struct wait {
	pthread_cond_t progress;
	bool awaited;     /* since progress was last told */
	unsigned threads; /* that wait, and have not been told of progress */
	uint64_t told;    /* how often they were */

	/* Of a caller that does not wait: */
	TAILQ_ENTRY(wait) entry; /* in supervisor->waits[state], unless that is WAIT_NONE */
	struct engine_waiter waiter;
	enum wait_state state;
};

TAILQ_HEAD(wait_list, wait);

static inline void wait_init(struct wait *wait)
{
	*wait = (struct wait){.state = WAIT_NONE};
	pthread_cond_init(&wait->progress, NULL);
}

static inline void wait_destroy(struct wait *wait)
{
	pthread_cond_destroy(&wait->progress);
}

#endif
