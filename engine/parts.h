/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of the engine, for the files that put them together. */
#ifndef VDM_ENGINE_PARTS_H
#define VDM_ENGINE_PARTS_H

#include "crew.h"
#include "doorbells.h"
#include "memory.h"
#include "scheduler.h"
#include "supervisor.h"

/* Guarded by the crew's lock. */
struct engine {
	struct crew crew;
	struct scheduler scheduler;
	struct doorbells doorbells;
	struct supervisor supervisor;
	struct cpu_backend cpu;
	struct backend *backend;   /* asked before the CPU; NULL: none. Constant */
	uint64_t doorbells_looked; /* ns at the last look at the doorbells */
	unsigned until_clock;      /* steps until the next look at the clock */
};

static inline struct engine *engine_of(struct worker *worker)
{
	return (struct engine *)((char *)worker->crew - offsetof(struct engine, crew));
}

/* A worker has let go of the queue: tell all that wait for it. Holding the crew's lock. */
static inline void engine_tell_progress(struct engine *engine, struct engine_queue *queue)
{
	if (queue->wait.threads > 0 || queue->memory->wait.threads > 0) {
		crew_tell_progress(&engine->crew, &queue->wait);
		crew_tell_progress(&engine->crew, &queue->memory->wait);
	}
}

#endif
