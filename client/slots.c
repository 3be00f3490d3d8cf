/* SPDX-License-Identifier: BSD-3-Clause */
#include "slots.h"

#include <errno.h>
#include <stdlib.h>

#include "fork.h"

struct slot *slots_at(struct slots *slots, uint32_t index)
{
	return &slots->blocks[index / SLOTS_PER_BLOCK][index % SLOTS_PER_BLOCK];
}

/* Put slots into the list that are linked from `first` to `last`. */
static void put_slots(struct slots *slots, struct slot *first, struct slot *last)
{
	/* release; partner: slots_take(). The upper half distinguishes states of the list that
	 * begin with the same slot. */
	uint64_t before = atomic_load_explicit(&slots->free, memory_order_relaxed), after;

	do {
		atomic_store_explicit(&last->next_free, (uint32_t)before, memory_order_relaxed);
		after = ((before >> 32) + 1) << 32 | (first->index + 1);
	} while (!atomic_compare_exchange_weak_explicit(&slots->free, &before, after,
							memory_order_release,
							memory_order_relaxed));
}

/* Add a block, unless there is a free slot by now. Returns whether there may be one. */
static bool grow(struct slots *slots)
{
	if (fork_happened(slots->epoch))
		return false; /* a thread that is not in this process may have held the mutex */
	pthread_mutex_lock(&slots->growing);

	bool made = (uint32_t)atomic_load_explicit(&slots->free, memory_order_relaxed) != 0;
	struct slot *block = made || slots->block_count == SLOT_BLOCKS
				     ? NULL
				     : calloc(SLOTS_PER_BLOCK, sizeof *block);

	if (block) {
		for (uint32_t i = 0; i < SLOTS_PER_BLOCK; i++) {
			block[i].index = slots->block_count * SLOTS_PER_BLOCK + i;
			/* relaxed; ordered by put_slots() */
			atomic_store_explicit(&block[i].next_free, block[i].index + 2,
					      memory_order_relaxed);
		}
		slots->blocks[slots->block_count++] = block;
		put_slots(slots, &block[0], &block[SLOTS_PER_BLOCK - 1]);
		made = true;
	}
	pthread_mutex_unlock(&slots->growing);
	return made;
}

struct slot *slots_take(struct slots *slots)
{
	/* acquire; partner: put_slots(): a thread that sees a slot's number sees the block that it
	 * is in */
	uint64_t before = atomic_load_explicit(&slots->free, memory_order_acquire), after;
	struct slot *slot;

	do {
		while ((uint32_t)before == 0) {
			if (!grow(slots))
				return NULL;
			before = atomic_load_explicit(&slots->free, memory_order_acquire);
		}
		slot = slots_at(slots, (uint32_t)before - 1);
		/* another thread may take it meanwhile: then the exchange fails */
		after = ((before >> 32) + 1) << 32 |
			atomic_load_explicit(&slot->next_free, memory_order_relaxed);
	} while (!atomic_compare_exchange_weak_explicit(&slots->free, &before, after,
							memory_order_acquire,
							memory_order_acquire));
	return slot;
}

void slots_put(struct slots *slots, struct slot *slot)
{
	put_slots(slots, slot, slot);
}

int slots_init(struct slots *slots, uint32_t epoch)
{
	slots->epoch = epoch;
	pthread_mutex_init(&slots->growing, NULL);
	return grow(slots) ? 0 : -ENOMEM;
}

void slots_destroy(struct slots *slots)
{
	for (unsigned i = 0; i < slots->block_count; i++)
		free(slots->blocks[i]);
	pthread_mutex_destroy(&slots->growing);
}
