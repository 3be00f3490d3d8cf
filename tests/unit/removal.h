/* SPDX-License-Identifier: BSD-3-Clause */
/* A thread that removes a ring or a region, and waits for what is in its way. */
#ifndef VDM_TESTS_REMOVAL_H
#define VDM_TESTS_REMOVAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "engine/parts.h"

struct removal {
	struct engine_queue *queue; /* NULL: a region is removed */
	struct engine_memory *regions;
	uint32_t region;
	pthread_t thread;
	_Atomic bool done; /* release by the thread; acquire by the test */
};

static inline void *removal_main(void *argument)
{
	struct removal *removal = argument;

	if (removal->queue)
		engine_queue_remove(removal->queue, NULL);
	else if (engine_region_remove(removal->regions, removal->region) < 0)
		abort();
	atomic_store_explicit(&removal->done, true, memory_order_release);
	return NULL;
}

static inline void removal_begin(struct removal *removal)
{
	if (pthread_create(&removal->thread, NULL, removal_main, removal))
		abort();
}

static inline bool removal_is_done(struct removal *removal)
{
	return atomic_load_explicit(&removal->done, memory_order_acquire);
}

/* Wait for its end. */
static inline void removal_end(struct removal *removal)
{
	pthread_join(removal->thread, NULL);
}

/* How often a thread was told that it may go on with a removal; `waiting`: how many wait. */
static inline uint64_t removals_told(struct engine *engine, const struct wait *wait,
				     unsigned *waiting)
{
	crew_lock(&engine->crew);
	uint64_t told = wait->told;

	*waiting = wait->threads;
	crew_unlock(&engine->crew);
	return told;
}

#endif
