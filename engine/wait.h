/* SPDX-License-Identifier: BSD-3-Clause */
/* Waiting for workers to let go of something that is to be removed. */
#ifndef VDM_ENGINE_WAIT_H
#define VDM_ENGINE_WAIT_H

#include <pthread.h>
#include <stdint.h>

/* Guarded by the crew's lock. Threads wait for one thing each, so that a removal that takes long is
 * nothing to those who work on other things. */
struct wait {
	pthread_cond_t progress;
	unsigned threads; /* that wait, and have not been told of progress */
	uint64_t told;    /* how often they were */
};

static inline void wait_init(struct wait *wait)
{
	*wait = (struct wait){.threads = 0};
	pthread_cond_init(&wait->progress, NULL);
}

static inline void wait_destroy(struct wait *wait)
{
	pthread_cond_destroy(&wait->progress);
}

#endif
