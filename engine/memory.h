/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of regions that the descriptors of some queues can name, and the queues that can. */
#ifndef VDM_ENGINE_MEMORY_H
#define VDM_ENGINE_MEMORY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "wait.h"

struct engine;
struct engine_queue;

/* A region id is (generation << 16 | slot): a stale id does not name the slot's next tenant. */
#define MEMORY_MAX_REGIONS 65535

enum region_kind {
	REGION_NONE,   /* the slot is free */
	REGION_MAPPED, /* memory that the engine's caller has mapped */
	REGION_WHOLE /* the address space of this process: slot 0 of memory without a table, id 0 */
};

struct memory_region {
	/* What descriptors have to say. release, when the rest is written; partner:
	 * memory_resolve(), acquire. A free slot has id 0, which names no slot but the first. */
	_Atomic uint32_t id;
	bool writable;
	bool leaving; /* being removed. Guarded by the crew's lock */
	uint16_t generation;
	enum region_kind kind;
	char *base;
	size_t length;
};

struct engine_memory {
	struct engine *engine;
	bool has_backend;      /* the engine asks one before the CPU */
	pthread_mutex_t mutex; /* of the table, which a worker reads without it during a batch */
	uint32_t first_free;   /* no slot below it is free, but the first */
	/* Guarded by the crew's lock: */
	LIST_HEAD(, engine_queue) queues;
	unsigned paused;  /* regions that are leaving: no batch begins meanwhile */
	struct wait wait; /* for workers and backends to let go of those */

	uint32_t slots; /* with the first, which only memory without a table uses */
	struct memory_region regions[];
};

/* Whether it has a table: then its regions are a client's, and not just what this process has
 * anyway. */
static inline bool memory_has_table(const struct engine_memory *memory)
{
	return memory->slots > 1;
}

/* With `max_regions` 0 the one region is the whole address space. Returns 0 or a negative errno. */
int memory_new(struct engine *engine, uint32_t max_regions, struct engine_memory **memory);
void memory_free(struct engine_memory *memory);

/* Add a mapped region and store its id. Returns 0 or -ENOSPC. */
int memory_add(struct engine_memory *memory, void *base, size_t length, bool writable,
	       uint32_t *region);

/* The region, also if descriptors do not find it any more because it is leaving. NULL: no such
 * region. */
struct memory_region *memory_find(struct engine_memory *memory, uint32_t region);

/* Have descriptors find it no more; have its slot be free. */
void memory_hide(struct memory_region *region);
void memory_remove(struct engine_memory *memory, struct memory_region *region);

/* Translate. Returns 0, -EFAULT (no such region, or not wholly inside of it) or -EACCES (read-only,
 * and to be written). */
int memory_resolve(const struct engine_memory *memory, uint32_t region, uint64_t offset,
		   uint64_t length, bool write, char **address);

#endif
