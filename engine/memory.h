/* SPDX-License-Identifier: BSD-3-Clause */
/* The regions that the descriptors of some queues can name, as seen from inside of the engine. */
#ifndef VDM_ENGINE_MEMORY_H
#define VDM_ENGINE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"

/* Region ids are (generation << 16 | slot + 1): a stale id does not name the slot's next tenant. */
#define MEMORY_MAX_REGIONS 65535

struct memory_region {
	/* 0: free. Written under the lock: release, when the rest is; partner: memory_resolve(), acquire */
	_Atomic uint32_t id;
	uint16_t generation;
	bool writable;
	bool leaving; /* being removed: no operation may begin that uses it */
	char *base;
	size_t length;
};

/*
 * Guarded by the engine's lock, except that a worker reads it without the lock during a batch; hence
 * `paused`: no batch of a queue of this memory begins while it is set, and whoever removes a region
 * first waits until none is running.
 */
struct engine_memory {
	struct engine *engine;
	unsigned paused;
	uint32_t size; /* 0: flat */
	struct memory_region regions[];
};

/*
 * Translate. Returns 0, -EFAULT (no such region, or not wholly inside of it) or -EACCES (to be written,
 * but read-only).
 */
int memory_resolve(const struct engine_memory *memory, uint32_t region, uint64_t offset,
		  uint64_t length, bool write, char **address);

#endif
