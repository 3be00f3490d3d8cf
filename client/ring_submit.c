/* SPDX-License-Identifier: BSD-3-Clause */
/* Which lane an operation takes, and how it gets into it. */
#include "ring_submit.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cancellation.h"
#include "entry.h"
#include "fork.h"
#include "ring_local.h"

enum lane { LANE_REMOTE, LANE_SMALL, LANE_OUTSIDE, LANE_DISCONNECTED };

/* Where an operation's memory lies, in the terms of its descriptor. */
struct place {
	uint32_t destination_region, source_region;
	uint64_t destination_offset, source_offset;
};

static inline bool locate(struct vdm_ring *ring, const struct vdm_sqe *sqe, struct place *place)
{
	const struct region_extent *extent;

	if (!ring->client) { /* flat memory: the address is the offset */
		place->destination_offset = (uintptr_t)sqe->dest;
		place->source_offset = (entry_facts(sqe) & OP_SOURCE) ? (uintptr_t)sqe->src : 0;
		return true;
	}
	extent = region_view_find(&ring->view, REGION_DESTINATION, sqe->dest, sqe->length);
	if (!extent)
		return false;
	place->destination_region = extent->id;
	place->destination_offset = (uintptr_t)sqe->dest - extent->begin;
	if (!(entry_facts(sqe) & OP_SOURCE))
		return true;
	extent = region_view_find(&ring->view, REGION_SOURCE, sqe->src, sqe->length);
	if (!extent)
		return false;
	place->source_region = extent->id;
	place->source_offset = (uintptr_t)sqe->src - extent->begin;
	return true;
}

/* `large` says that the operation is to be treated as above the threshold. */
static inline enum lane choose_lane(struct vdm_ring *ring, const struct vdm_sqe *sqe, bool large,
			     struct place *place)
{
	*place = (struct place){0};
	if (!ring->connected)
		return LANE_DISCONNECTED;
	switch (sqe->opcode) {
	case VDM_OP_NOP: /* exists to travel */
		return LANE_REMOTE;
	case VDM_OP_FLUSH: /* orders what is in flight; nothing is, nothing to do */
		return large || ring_in_flight(ring) > 0 || ring->threshold <= 1 ? LANE_REMOTE : LANE_SMALL;
	default:
		if (sqe->length < ring->threshold && !large)
			return LANE_SMALL;
		return locate(ring, sqe, place) ? LANE_REMOTE : LANE_OUTSIDE;
	}
}

bool ring_offloads(struct vdm_ring *ring, const void *dest, const void *src, size_t n)
{
	if (!ring->client || !ring->connected)
		return false;
	region_view_refresh(&ring->view, &ring->client->regions, ring->connection);
	if (region_view_forbids(&ring->view, dest, n))
		return true; /* to be told so there, where a store of ours would end the process */
	if (n < ring->threshold)
		return false;

	const struct region_extent *to = region_view_find(&ring->view, REGION_DESTINATION, dest, n);
	const struct region_extent *from = src ? region_view_find(&ring->view, REGION_SOURCE, src, n) : to;

	return to && from;
}

/* Returns its bytes. */
static inline uint64_t publish(struct vdm_ring *ring, const struct vdm_sqe *sqe, const struct place *place)
{
	struct vdm_descriptor *slot = &ring->descriptors[ring->sq_position & (ring->entries - 1)];
	uint32_t index = ring->free_pending;
	struct pending *pending = &ring->pending[index];
	uint64_t length = entry_bytes(sqe);

	ring->free_pending = pending->next;
	pending->user_data = sqe->user_data;
	pending->number = ring->number++;
	pending->position = ring->sq_position;
	pending->state = PENDING_ACTIVE;

	slot->opcode = sqe->opcode;
	slot->priority = 0;
	slot->flags = sqe->flags;
	slot->destination_region = place->destination_region;
	slot->source_region = place->source_region;
	slot->reserved0 = 0;
	slot->destination_offset = place->destination_offset;
	slot->source_offset = place->source_offset;
	slot->length = length;
	slot->pattern = entry_facts(sqe) & OP_PATTERN ? sqe->value : 0;
	slot->user_data = index;
	slot->reserved1 = 0;
	/* release; partner: descriptor_state(), acquire: who sees this word sees the entry and the source */
	atomic_store_explicit(&slot->sequence, ring->sq_position + 1, memory_order_release);
	ring->sq_position++;
	return length;
}

/* The lane of `length` linked entries from `taken` on: remote only if all can go there. `large` as for choose_lane(). */
static enum lane chain_lane(struct vdm_ring *ring, uint32_t length, bool large, bool *waits)
{
	enum lane lane = LANE_REMOTE;

	*waits = false;
	for (uint32_t i = 0; i < length; i++) {
		const struct vdm_sqe *sqe = ring_entry(ring, ring->taken + i);
		struct place unused;
		enum lane own = entry_check(sqe) ? LANE_SMALL
					   : choose_lane(ring, sqe, large, &unused);

		if (own != LANE_REMOTE)
			lane = own;
		*waits |= entry_is_ordered(sqe);
	}
	return lane;
}

static void run_chain_here(struct vdm_ring *ring, uint32_t length, enum lane lane)
{
	_Atomic uint64_t *counter = lane == LANE_SMALL     ? &ring->counters.local_small
				    : lane == LANE_OUTSIDE ? &ring->counters.local_outside
							   : &ring->counters.local_disconnected;
	int failed = 0;

	for (uint32_t i = 0; i < length; i++) {
		const struct vdm_sqe *sqe = ring_entry(ring, ring->taken++);
		int result = entry_check(sqe);

		if (failed)
			result = -ECANCELED;
		else if (result == 0)
			result = ring_run_entry(ring, sqe, counter);
		failed = result;
		ring_complete_entry(ring, sqe, result);
	}
}

/* Ring the doorbell if nobody looks at the ring. */
static void ring_doorbell(struct vdm_ring *ring)
{
	/* full barrier between publishing and reading the announcement (I6); partner: scheduler_retire_quiet(),
	 * which announces, passes a full barrier and looks at the ring again. If that one is passed here as well,
	 * then only the compiler has to be kept from reordering. */
	if (ring->asymmetric)
		atomic_signal_fence(memory_order_seq_cst);
	else
		atomic_thread_fence(memory_order_seq_cst);

	uint32_t wanted =
		atomic_load_explicit(&ring->daemon_line->doorbell_wanted, memory_order_relaxed);

	if (wanted == 0 || wanted == ring->rung)
		return;
	WITHOUT_CANCELLATION;
	ring->rung = wanted;
	eventfd_write(ring->doorbell_fd, 1);
	ring_count(&ring->counters.doorbells, 1);
}

/*
 * Move on with what is next: an operation that is ordered with others, or wants no daemon, or a chain. Returns whether it
 * could be; `room` is that of the ring.
 */
static bool advance_ordered(struct vdm_ring *ring, uint32_t room, uint64_t *bytes)
{
	/* the daemon keeps the order, so what must not run here yet goes there, if it can, however small it is */
	bool settled = ring_order_settled(ring), waits;
	uint32_t length = 1;
	struct place place;

	while (ring_entry(ring, ring->taken + length - 1)->flags & VDM_SQE_LINK)
		length++; /* ends: the last entry of a submit has no link */

	enum lane lane = chain_lane(ring, length, !settled || length > 1, &waits);

	if (lane != LANE_REMOTE) {
		if (!settled || (waits && ring_in_flight(ring) > 0))
			return false; /* until enough of what is in flight has been reaped */
		run_chain_here(ring, length, lane);
		return true;
	}
	waits |= length > 1;
	if (room < length || (waits && ring->contested > 0))
		return false; /* the daemon may take a contested operation for complete before it is */
	for (uint32_t i = 0; i < length; i++) {
		const struct vdm_sqe *sqe = ring_entry(ring, ring->taken++);

		choose_lane(ring, sqe, true, &place);
		*bytes += publish(ring, sqe, &place);
	}
	if (waits)
		ring->ordered = ring->sq_position;
	return true;
}

void ring_advance(struct vdm_ring *ring)
{
	const uint32_t published = ring->sq_position;
	uint64_t bytes = 0;

	if (ring->taken == ring->submitted)
		return;
	activity_enter(&ring->activity);
	if (ring->client)
		region_view_refresh(&ring->view, &ring->client->regions, ring->connection);
	while (ring->taken != ring->submitted) {
		const struct vdm_sqe *first = ring_entry(ring, ring->taken);
		uint32_t room = ring->entries - ring_in_flight(ring);
		struct place place;

		/* mostly it is one operation by itself, for the daemon */
		if (room > 0 && !(first->flags & VDM_SQE_LINK) && !entry_is_ordered(first) && !entry_check(first) &&
		    choose_lane(ring, first, false, &place) == LANE_REMOTE) {
			ring->taken++;
			bytes += publish(ring, first, &place);
		} else if (!advance_ordered(ring, room, &bytes)) {
			break;
		}
	}
	if (ring->sq_position == published) {
		activity_leave(&ring->activity);
		return;
	}
	activity_set_in_flight(&ring->activity, true);
	activity_leave(&ring->activity);
	ring_count(&ring->counters.offloaded, ring->sq_position - published);
	ring_count(&ring->counters.offloaded_bytes, bytes);
	ring_doorbell(ring);
}

bool ring_run_waiting(struct vdm_ring *ring, uint64_t most_bytes)
{
	const struct vdm_sqe *sqe = ring_entry(ring, ring->taken);
	struct place place;

	if (ring->taken == ring->submitted || ring_in_flight(ring) < ring->entries || !ring_order_settled(ring) ||
	    (sqe->flags & (VDM_SQE_FENCE | VDM_SQE_LINK)) || entry_check(sqe) || sqe->opcode == VDM_OP_FLUSH ||
	    sqe->length <= VDM_CLAIM_BYTES || sqe->length > most_bytes ||
	    choose_lane(ring, sqe, false, &place) != LANE_REMOTE)
		return false;

	ring->taken++;
	ring_count(&ring->counters.offloaded, 1);
	ring_count(&ring->counters.offloaded_bytes, sqe->length);
	ring_complete_entry(ring, sqe, ring_run_entry(ring, sqe, &ring->counters.taken_back));
	return true;
}

int vdm_ring_submit(struct vdm_ring *ring)
{
	if (fork_happened(ring->epoch))
		return fork_error();

	uint32_t count = ring->got - ring->submitted;

	if (count == 0)
		return 0;
	ring_entry(ring, ring->got - 1)->flags &= (uint16_t)~VDM_SQE_LINK; /* nothing follows it */
	ring->submitted = ring->got;
	ring_advance(ring);
	return (int)count;
}
