/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing entries into the shared memory of a ring. Inline: each step costs as much as a call. */
#ifndef VDM_CLIENT_RING_PUBLISH_H
#define VDM_CLIENT_RING_PUBLISH_H

#include <string.h>

#include "cancellation.h"
#include "entry.h"
#include "ring.h"
#include "ring_signal.h"

/* Whether two ranges have bytes in common. */
static inline bool overlap(uintptr_t a, uintptr_t b, uint64_t length)
{
	return a - b + length - 1 < 2 * length - 1 && length > 0;
}

/* Describe an entry that stores bytes by regions and offsets. Returns whether that is possible: all
 * of its memory lies in regions, and its pattern is a byte. */
static inline bool describe(struct vdm_ring *ring, const struct vdm_sqe *sqe,
			    struct vdm_descriptor *d)
{
	const unsigned facts = entry_facts(sqe);
	const uint64_t length = sqe->length;
	const struct region_extent *to, *from;

	to = region_view_find(&ring->view, REGION_DESTINATION, sqe->dest, length,
			      &d->destination_offset);
	if (!to)
		return false;
	d->destination_region = to->id;
	d->length = length;
	d->pattern = 0;
	if (facts & OP_PATTERN) {
		if (sqe->value > UINT8_MAX)
			return false;
		d->pattern = sqe->value;
	}
	if (facts & OP_SOURCE) {
		if (overlap((uintptr_t)sqe->dest, (uintptr_t)sqe->src, length) &&
		    !ring->never_repeats)
			return false;
		from = region_view_find(&ring->view, REGION_SOURCE, sqe->src, length,
					&d->source_offset);
		if (!from)
			return false;
		d->source_region = from->id;
	} else {
		d->source_region = 0;
		d->source_offset = 0;
	}
	return true;
}

/* Describe an entry that moves nothing. */
static inline void describe_nothing(struct vdm_descriptor *d)
{
	d->destination_region = d->source_region = 0;
	d->destination_offset = d->source_offset = d->length = d->pattern = 0;
}

/*
 * What the next published operation gets. While entries are published this is a local copy of the
 * ring's fields, which the compiler would load again after each store to a descriptor.
 */
struct cursor {
	uint32_t entry;          /* its number among the entries */
	uint32_t position;       /* in the ring */
	struct pending *pending; /* the entry */
};

static inline struct cursor cursor_of(const struct vdm_ring *ring)
{
	return (struct cursor){.entry = ring->dispatched,
			       .position = ring->sq_position,
			       .pending = ring_pending(ring, ring->dispatched)};
}

static inline void cursor_store(struct vdm_ring *ring, struct cursor cursor)
{
	ring->sq_position = cursor.position;
	ring->dispatched = cursor.entry;
}

static inline struct vdm_descriptor *slot_at(const struct vdm_ring *ring, struct cursor cursor)
{
	return &ring->descriptors[cursor.position & ring->mask];
}

/* Publish the next entry, which is valid, in a slot that describes its memory. The slot's reserved
 * fields are zero since it was made. */
static inline void publish(struct vdm_ring *ring, struct cursor *cursor, const struct vdm_sqe *sqe,
			   struct vdm_descriptor *slot)
{
	const uint32_t head = entry_head(sqe);
	struct pending *pending = cursor->pending;

	pending->position = cursor->position;
	pending->state = PENDING_ACTIVE;

	memcpy(slot, &head, sizeof head);
	slot->user_data = pending->index;
	/* release; partner: descriptor_state(), acquire: a worker that sees this word sees the
	 * descriptor and the source */
	atomic_store_explicit(&slot->sequence, cursor->position + 1, memory_order_release);

	cursor->position++;
	cursor->pending = ring_pending(ring, ++cursor->entry);
}

/* Ring the doorbell if no worker polls the ring. */
static inline void ring_doorbell(struct vdm_ring *ring)
{
	/* full barrier between publishing and reading doorbell_wanted (I6); partner:
	 * scheduler_retire_quiet(), which stores doorbell_wanted, passes a full barrier and looks
	 * at the ring again. If that barrier reaches this process, only the compiler has to be kept
	 * from reordering. */
	if (ring->asymmetric)
		atomic_signal_fence(memory_order_seq_cst);
	else
		atomic_thread_fence(memory_order_seq_cst);

	/* relaxed: ordered by the barrier */
	uint32_t wanted =
		atomic_load_explicit(&ring->daemon_line->doorbell_wanted, memory_order_relaxed);

	if (wanted == 0 || wanted == ring->rung)
		return;
	WITHOUT_CANCELLATION;
	ring->rung = wanted;
	ring_ring_doorbell(ring);
	ring_count(&ring->counters.doorbells, 1);
}

#endif
