/* SPDX-License-Identifier: BSD-3-Clause */
/* A caller's wait for workers to let go of something that is to be removed. */
#ifndef VDM_ENGINE_WAIT_H
#define VDM_ENGINE_WAIT_H

#include <stdbool.h>
#include <sys/queue.h>

#include "engine.h"

enum wait_state {
	WAIT_NONE,
	WAIT_ON,
	WAIT_OVER,    /* the waiter is to be called */
	WAIT_CALLING, /* with others, one after the other */
	WAIT_STATES
};

/* Guarded by the crew's lock. */
struct wait {
	TAILQ_ENTRY(wait) entry; /* in supervisor->waits[state], unless that is WAIT_NONE */
	struct engine_waiter waiter;
	enum wait_state state;
};

TAILQ_HEAD(wait_list, wait);

#endif
