/* SPDX-License-Identifier: BSD-3-Clause */
#include "memory.h"

#include <errno.h>
#include <stdlib.h>

#include "internal.h"

/*
 * index if it is below size, else 0, without a branch that could be mispredicted: so that a bounds check
 * that fails cannot be run past speculatively with the client's index (CVE-2017-5753; the kernel's
 * array_index_nospec() is the model).
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
	if (memory->size == 0) {
		if (region != 0 || length > UINTPTR_MAX - offset)
			return -EFAULT;
		*address = (char *)(uintptr_t)offset;
		return 0;
	}

	uint32_t slot = (region & 0xffff) - 1;

	if (slot >= memory->size)
		return -EFAULT;

	const struct memory_region *r = &memory->regions[clamp_index(slot, memory->size)];

	/* acquire; partner: engine_region_add() */
	if (atomic_load_explicit(&r->id, memory_order_acquire) != region)
		return -EFAULT;
	if (offset > r->length || length > r->length - offset)
		return -EFAULT;
	if (write && !r->writable)
		return -EACCES;
	*address = r->base + offset;
	return 0;
}

static bool memory_in_batch(const struct engine_memory *memory)
{
	const struct engine *engine = memory->engine;

	for (uint32_t i = 0; i < engine->slots; i++) {
		const struct engine_queue *queue = engine->queues[i].queue;

		if (queue && queue->memory == memory && queue->busy)
			return true;
	}
	return false;
}

static bool operation_uses(const struct operation *operation, uint32_t region)
{
	return operation->destination_region == region || operation->source_region == region;
}

static bool region_in_piece(const struct engine_memory *memory, uint32_t region)
{
	const struct engine *engine = memory->engine;

	for (unsigned i = 0; i < engine->threads; i++) {
		const struct job *job = engine->worker[i].job;

		if (job && job->queue->memory == memory && operation_uses(&job->operation, region))
			return true;
	}
	return false;
}

/* End the operations that use a region and have not begun to move. */
static void end_users_of(struct engine_memory *memory, uint32_t region)
{
	const struct engine *engine = memory->engine;

	for (uint32_t i = 0; i < engine->slots; i++) {
		struct engine_queue *queue = engine->queues[i].queue;

		if (!queue || queue->memory != memory)
			continue;
		if (queue->holding && operation_uses(&queue->held, region))
			queue->held.error = -EFAULT;
		if (queue->handing_out && operation_uses(&queue->handing_out->operation, region))
			job_cancel(queue, -EFAULT);
		if (queue_finish_jobs(queue))
			queue_signal(queue);
	}
}

int engine_memory_new(struct engine *engine, uint32_t max_regions, struct engine_memory **memory)
{
	if (max_regions > MEMORY_MAX_REGIONS)
		return -EINVAL;

	struct engine_memory *s =
		calloc(1, sizeof *s + (size_t)max_regions * sizeof(struct memory_region));

	if (!s)
		return -ENOMEM;
	s->engine = engine;
	s->size = max_regions;
	*memory = s;
	return 0;
}

void engine_memory_delete(struct engine_memory *memory)
{
	free(memory);
}

int engine_region_add(struct engine_memory *memory, void *base, size_t length, bool writable,
		     uint32_t *region)
{
	struct engine *engine = memory->engine;
	int result = -ENOSPC;

	engine_lock(engine);
	for (uint32_t slot = 0; slot < memory->size; slot++) {
		struct memory_region *r = &memory->regions[slot];

		/* relaxed: written under the lock */
		if (atomic_load_explicit(&r->id, memory_order_relaxed) != 0 || r->leaving)
			continue;
		r->base = base;
		r->length = length;
		r->writable = writable;
		r->generation++;
		*region = (uint32_t)r->generation << 16 | (slot + 1);
		/* release; partner: memory_resolve() */
		atomic_store_explicit(&r->id, *region, memory_order_release);
		result = 0;
		break;
	}
	engine_unlock(engine);
	return result;
}

/* One attempt at removing a region: 0, or -EAGAIN as long as a worker may touch it. Holding the lock. */
static int try_remove(struct engine_memory *memory, struct memory_region *r, uint32_t region)
{
	if (!r->leaving) {
		r->leaving = true;
		memory->paused++;
	}
	if (memory_in_batch(memory))
		return -EAGAIN;
	/* relaxed: no worker is reading it */
	if (atomic_load_explicit(&r->id, memory_order_relaxed) != 0) {
		atomic_store_explicit(&r->id, 0, memory_order_relaxed);
		end_users_of(memory, region);
	}
	if (region_in_piece(memory, region))
		return -EAGAIN;
	r->leaving = false;
	memory->paused--;
	return 0;
}

int engine_region_remove(struct engine_memory *memory, uint32_t region, bool wait)
{
	struct engine *engine = memory->engine;
	uint32_t slot = (region & 0xffff) - 1;
	int result = -ENOENT;

	if (slot >= memory->size)
		return -ENOENT;

	struct memory_region *r = &memory->regions[slot];

	engine_lock(engine);
	/* by its generation: the id is gone after a first attempt */
	if (r->generation == region >> 16 &&
	    (r->leaving || atomic_load_explicit(&r->id, memory_order_relaxed) != 0))
		while ((result = try_remove(memory, r, region)) == -EAGAIN && engine_let_go_of(engine, wait))
			;
	engine_unlock(engine);
	return result;
}
