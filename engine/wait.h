/* SPDX-License-Identifier: BSD-3-Clause */
/* A caller's wait for workers to let go of something that is to be removed. */
#ifndef VDM_ENGINE_WAIT_H
#define VDM_ENGINE_WAIT_H

#include <stdbool.h>
#include <sys/queue.h>

#include "engine.h"

/* Guarded by the crew's lock. */
struct wait {
	TAILQ_ENTRY(wait) entry; /* in supervisor->waiting or ->over */
	struct engine_waiter waiter;
	enum { WAIT_NONE, WAIT_ON, WAIT_OVER } state; /* over: the waiter is about to be called */
};

TAILQ_HEAD(wait_list, wait);

#endif
