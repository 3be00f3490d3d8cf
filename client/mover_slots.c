/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The slots of a mover, one for each operation that exists: blocks that are added when the list of free slots is empty.
 * A slot keeps its number and its place, so that the list needs no lock.
 */
#include <stdlib.h>

#include "fork.h"
#include "mover_internal.h"

struct slot *mover_slot(struct mover *mover, uint32_t index)
{
	return &mover->blocks[index / SLOTS_PER_BLOCK][index % SLOTS_PER_BLOCK];
}

/* Put slots into the list that are linked from `first` to `last`. */
static void put_slots(struct mover *mover, struct slot *first, struct slot *last)
{
	/* release; partner: mover_take_slot(). The upper half tells apart two states of the list that begin with the
	 * same slot. */
	uint64_t before = atomic_load_explicit(&mover->free, memory_order_relaxed), after;

	do {
		atomic_store_explicit(&last->next_free, (uint32_t)before, memory_order_relaxed);
		after = ((before >> 32) + 1) << 32 | (first->index + 1);
	} while (!atomic_compare_exchange_weak_explicit(&mover->free, &before, after, memory_order_release,
							memory_order_relaxed));
}

bool mover_grow(struct mover *mover)
{
	if (fork_happened(mover->epoch))
		return false; /* the lock may have been held by a thread that is not here */
	pthread_mutex_lock(&mover->lock);

	bool made = (uint32_t)atomic_load_explicit(&mover->free, memory_order_relaxed) != 0;
	struct slot *block = made || mover->block_count == MOVER_BLOCKS ? NULL
									: calloc(SLOTS_PER_BLOCK, sizeof *block);

	if (block) {
		for (uint32_t i = 0; i < SLOTS_PER_BLOCK; i++) {
			block[i].index = mover->block_count * SLOTS_PER_BLOCK + i;
			/* relaxed; ordered by put_slots() */
			atomic_store_explicit(&block[i].next_free, block[i].index + 2, memory_order_relaxed);
		}
		mover->blocks[mover->block_count++] = block;
		put_slots(mover, &block[0], &block[SLOTS_PER_BLOCK - 1]);
		made = true;
	}
	pthread_mutex_unlock(&mover->lock);
	return made;
}

struct slot *mover_take_slot(struct mover *mover)
{
	/* acquire; partner: put_slots(): who sees a slot's number sees the block that it is in */
	uint64_t before = atomic_load_explicit(&mover->free, memory_order_acquire), after;
	struct slot *slot;

	do {
		while ((uint32_t)before == 0) {
			if (!mover_grow(mover))
				return NULL;
			before = atomic_load_explicit(&mover->free, memory_order_acquire);
		}
		slot = mover_slot(mover, (uint32_t)before - 1);
		/* another thread may take it meanwhile: then this is not used */
		after = ((before >> 32) + 1) << 32 |
			atomic_load_explicit(&slot->next_free, memory_order_relaxed);
	} while (!atomic_compare_exchange_weak_explicit(&mover->free, &before, after, memory_order_acquire,
							memory_order_acquire));
	return slot;
}

void mover_put_slot(struct mover *mover, struct slot *slot)
{
	put_slots(mover, slot, slot);
}
