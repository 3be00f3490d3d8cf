/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_flight.h"

#include <errno.h>

#include "ring_local.h"
#include "ring_report.h"

/* Carry out an operation that the daemon found taken back, though this side had come too late for
 * it. */
static int carry_out(struct vdm_ring *ring, const struct vdm_sqe *sqe, uint64_t *value)
{
	const uint32_t newest = ring->view.newest;
	int result;

	activity_enter(&ring->activity);
	/* Not by the descriptor: the client may be connected to another daemon already, and then
	 * the numbers of its regions mean nothing. */
	region_view_refresh(&ring->view, &ring->client->regions, ring->connection);
	result = ring_check_memory(ring, sqe, newest);
	if (!result)
		result = ring_run_entry(ring, sqe, &ring->counters.taken_back);
	activity_leave(&ring->activity);
	*value = result ? 0 : sqe->length;
	return result;
}

/* The published entry with that number. NULL: it is complete. */
static struct pending *find(struct vdm_ring *ring, uint32_t number)
{
	for (uint32_t i = 0; i < ring_indexes(ring); i++)
		if (ring->pending[i].state != PENDING_NONE && ring->pending[i].number == number)
			return &ring->pending[i];
	return NULL;
}

/* The rest of the chain of an entry that has failed will not be carried out, whatever becomes of
 * the daemon. */
static void cancel_chain(struct vdm_ring *ring, const struct pending *failed)
{
	struct pending *next;

	while ((failed->sqe.flags & VDM_SQE_LINK) && (next = find(ring, failed->number + 1))) {
		next->state = PENDING_CANCELLED;
		failed = next;
	}
}

/* The completion of an operation that has failed; or has been refused; or taken back, in time or
 * perhaps too late. */
static void reap_special(struct vdm_ring *ring, struct pending *pending,
			 const struct vdm_completion *slot)
{
	uint64_t value = slot->value;
	int result = slot->result;

	if (pending->state == PENDING_TAKEN_BACK) {
		ring_end_taken_back(ring, pending);
		return;
	}
	if (pending->state == PENDING_CONTESTED)
		ring->contested--;
	if (pending->state == PENDING_REFUSED && result != -ECANCELED)
		result = pending->refusal;
	if (slot->flags & VDM_COMPLETION_TAKEN_BACK)
		result = carry_out(ring, &pending->sqe, &value);
	if (result)
		cancel_chain(ring, pending);
	ring_report(ring, pending, value, result);
}

/*
 * The usual case, in few instructions: collect completions of operations that the daemon has
 * carried out, up to the first other one. The counts are local copies, which the compiler would
 * load again after each store to a completion.
 */
static inline void reap_plain(struct vdm_ring *ring)
{
	const uint32_t end = ring->sq_position, indexes = ring_indexes(ring), mask = ring->mask;
	uint32_t position = ring->cq_position, tail = ring->cqe_tail;

	while (position != end) {
		const struct vdm_completion *slot = &ring->completions[position & mask];

		/* acquire; partner: consumer_complete(), release: a thread that sees this word sees
		 * the bytes moved */
		if (atomic_load_explicit(&slot->sequence, memory_order_acquire) != position + 1)
			break;

		const uint64_t index = slot->user_data;
		struct pending *pending = &ring->pending[index];

		if (index >= indexes || slot->flags || slot->result ||
		    pending->state != PENDING_ACTIVE)
			break;
		ring->cqes[tail & mask] = (struct vdm_cqe){.user_data = pending->sqe.user_data,
							   .value = slot->value,
							   .operation = pending->number};
		ring->slots[tail & mask] = pending;
		pending->state = PENDING_NONE;
		pending->deaths = 0;
		tail++;
		position++;
	}
	ring->cq_position = position;
	ring->cqe_tail = tail;
}

/* Collect the next completion, whatever it is. Returns whether there was one. */
static
	__attribute__((noinline)) /* leave the registers to reap_plain() */
	bool
	reap_other(struct vdm_ring *ring)
{
	const struct vdm_completion *slot = &ring->completions[ring->cq_position & ring->mask];

	/* acquire; partner: consumer_complete(), release: a thread that sees this word sees the
	 * bytes moved */
	if (atomic_load_explicit(&slot->sequence, memory_order_acquire) != ring->cq_position + 1)
		return false;
	ring->cq_position++;

	const uint64_t index = slot->user_data;

	if (index < ring_indexes(ring) && ring->pending[index].state != PENDING_NONE) {
		reap_special(ring, &ring->pending[index], slot);
		ring->pending[index].state = PENDING_NONE;
	}
	return true;
}

void ring_reap(struct vdm_ring *ring)
{
	if (!ring->connected)
		return;
	do
		reap_plain(ring);
	while (ring_in_flight(ring) > 0 && reap_other(ring));
	if (ring_in_flight(ring) == 0) {
		activity_set_in_flight(&ring->activity, false);
		/* keeps the difference small that ring_order_settled() looks at */
		ring->ordered = ring->cq_position;
	}
}

void ring_fail_all(struct vdm_ring *ring)
{
	for (uint32_t i = 0; i < ring_indexes(ring); i++) {
		struct pending *pending = &ring->pending[i];

		if (pending->state == PENDING_TAKEN_BACK)
			ring_end_taken_back(ring, pending);
		else if (pending->state != PENDING_NONE)
			ring_report(ring, pending, 0, -ENOTCONN);
		pending->state = PENDING_NONE;
	}
	ring->contested = 0;
	ring->cq_position = ring->ordered = ring->sq_position; /* nothing is in flight */
	activity_set_in_flight(&ring->activity, false);
}
