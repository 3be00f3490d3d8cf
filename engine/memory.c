/* SPDX-License-Identifier: BSD-3-Clause */
#include "memory.h"

#include <errno.h>
#include <stdlib.h>

/* Of slot 0, in memory that has a table: no descriptor that names slot 0 has it. */
#define ID_OF_NOTHING 1

/*
 * index if it is below size, else 0, without a branch that could be mispredicted: so that a bounds
 * check that fails cannot be run past speculatively with the client's index (CVE-2017-5753; the
 * kernel's array_index_nospec() is the model).
 */
static uint32_t clamp_index(uint32_t index, uint32_t size)
{
	uint64_t mask = ((uint64_t)index - size) >> 63;

	__asm__ volatile("" : "+r"(mask)); /* hide the value, or it becomes a branch again */
	return index & (uint32_t)-mask;
}

int memory_resolve(const struct engine_memory *memory, uint32_t region, uint64_t offset,
		   uint64_t length, bool write, char **address)
{
	const struct memory_region *r =
		&memory->regions[clamp_index(region & 0xffff, memory->slots)];

	/* acquire; partner: memory_add(). Of the first slot, for a number that is too large, it is
	 * another one. */
	if (atomic_load_explicit(&r->id, memory_order_acquire) != region)
		return -EFAULT;
	if (offset > r->length || length > r->length - offset)
		return -EFAULT;
	if (write > r->writable)
		return -EACCES;
	*address = (char *)((uintptr_t)r->base + offset);
	return 0;
}

int memory_new(struct engine *engine, uint32_t max_regions, struct engine_memory **memory)
{
	if (max_regions > MEMORY_MAX_REGIONS)
		return -EINVAL;

	struct engine_memory *m =
		calloc(1, sizeof *m + ((size_t)max_regions + 1) * sizeof(struct memory_region));

	if (!m)
		return -ENOMEM;
	m->engine = engine;
	m->slots = max_regions + 1;
	m->first_free = 1;
	pthread_mutex_init(&m->mutex, NULL);
	wait_init(&m->wait);
	LIST_INIT(&m->queues);
	if (max_regions == 0) {
		m->regions[0].kind = REGION_WHOLE;
		m->regions[0].writable = true;
		m->regions[0].length = SIZE_MAX;
	} else {
		atomic_init(&m->regions[0].id, ID_OF_NOTHING);
	}
	*memory = m;
	return 0;
}

void memory_free(struct engine_memory *memory)
{
	if (!memory)
		return;
	pthread_mutex_destroy(&memory->mutex);
	wait_destroy(&memory->wait);
	free(memory);
}

int memory_add(struct engine_memory *memory, void *base, size_t length, bool writable,
	       uint32_t *region)
{
	int result = -ENOSPC;

	pthread_mutex_lock(&memory->mutex);

	uint32_t slot = memory->first_free;

	while (slot < memory->slots && memory->regions[slot].kind != REGION_NONE)
		slot++;
	if (slot < memory->slots) {
		struct memory_region *r = &memory->regions[slot];

		r->kind = REGION_MAPPED;
		r->base = base;
		r->length = length;
		r->writable = writable;
		r->generation++;
		memory->first_free = slot + 1;
		*region = (uint32_t)r->generation << 16 | slot;
		/* release; partner: memory_resolve() */
		atomic_store_explicit(&r->id, *region, memory_order_release);
		result = 0;
	}
	pthread_mutex_unlock(&memory->mutex);
	return result;
}

struct memory_region *memory_find(struct engine_memory *memory, uint32_t region)
{
	uint32_t slot = region & 0xffff;

	if (slot >= memory->slots)
		return NULL;

	struct memory_region *r = &memory->regions[slot];

	pthread_mutex_lock(&memory->mutex);
	/* by its generation: one that is hidden has no id */
	bool found = r->kind == REGION_MAPPED && r->generation == region >> 16;

	pthread_mutex_unlock(&memory->mutex);
	return found ? r : NULL;
}

void memory_hide(struct memory_region *region)
{
	/* relaxed: no batch that reads it begins until it has been removed; partner:
	 * memory_resolve() */
	atomic_store_explicit(&region->id, 0, memory_order_relaxed);
}

void memory_remove(struct engine_memory *memory, struct memory_region *region)
{
	const uint32_t slot = (uint32_t)(region - memory->regions);

	pthread_mutex_lock(&memory->mutex);
	if (slot < memory->first_free)
		memory->first_free = slot;
	region->kind = REGION_NONE;
	pthread_mutex_unlock(&memory->mutex);
}
