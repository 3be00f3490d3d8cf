/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The slots of a mover, one for each operation that exists. A slot keeps its number, which travels
 * as the operation's user_data, and its place in memory, so that the list of free slots needs no
 * lock.
 */
#ifndef VDM_CLIENT_SLOTS_H
#define VDM_CLIENT_SLOTS_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "libvdm/future.h"

/* Slots are allocated in blocks, and not freed before the mover is. 65536 operations may exist. */
enum { SLOTS_PER_BLOCK = 1024, SLOT_BLOCKS = 64 };

/* The mover's part of an operation. */
struct slot {
	struct mover *mover;
	_Atomic uint32_t state;     /* enum slot_state of slot_state.h */
	_Atomic uint32_t next_free; /* index + 1 */
	uint32_t index;
	int32_t result;    /* 0 or a negative errno; written before the state changes */
	bool just_started; /* and not yet looked at; used by its poller only */
	bool notified;     /* counted in mover->notified */
	bool in_file;      /* its destination is in a file, which the mover does not write back */
	/* wake is NULL: none. Guarded by the mover's lock, read by the operation's poller. */
	struct future_waker waker;
	uint64_t monitored;    /* FUTURE_NOTIFIER_POLLER: changes when the operation is complete */
	TAILQ_ENTRY(slot) due; /* mover::due, while its state is SLOT_DUE */
};
static_assert(sizeof(struct slot) <= 256, "small, for there may be many thousands");

struct slots {
	uint32_t epoch;          /* of the process, see fork.h */
	_Atomic uint64_t free;   /* changes << 32 | index + 1 of the first free slot */
	pthread_mutex_t growing; /* guards block_count */
	unsigned block_count;
	struct slot *blocks[SLOT_BLOCKS];
};

/* Returns 0 or -ENOMEM. */
int slots_init(struct slots *slots, uint32_t epoch);
void slots_destroy(struct slots *slots);

struct slot *slots_at(struct slots *slots, uint32_t index);

/* NULL: too many operations exist, or memory is short. */
struct slot *slots_take(struct slots *slots);
void slots_put(struct slots *slots, struct slot *slot);

#endif
