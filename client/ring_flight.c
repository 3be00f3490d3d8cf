/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_flight.h"

#include <errno.h>
#include <sys/epoll.h>

#include "ring_local.h"
#include "ring_report.h"

/* Carry out an operation that the daemon found taken back, though this side had come too late for
 * it. */
static int carry_out(struct vdm_ring *ring, uint32_t position, uint64_t *value)
{
	struct operation operation;
	int result = -EFAULT;

	activity_enter(&ring->activity);
	/* Until the operation has been reaped, its descriptor stays in its place. */
	if (ring_translate(ring, position, &operation)) {
		ring_run_taken_back(ring, &operation);
		*value = operation.length;
		result = 0;
	}
	activity_leave(&ring->activity);
	return result;
}

/* The completion of an operation that has been refused; or taken back, in time or perhaps too
 * late. */
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
	if (slot->flags & VDM_COMPLETION_TAKEN_BACK) {
		value = 0;
		result = carry_out(ring, pending->position, &value);
	}
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
	uint32_t position = ring->cq_position, tail = ring->cqe_tail, failed = 0;

	while (position != end) {
		const struct vdm_completion *slot = &ring->completions[position & mask];

		/* acquire; partner: consumer_complete(), release: a thread that sees this word sees
		 * the bytes moved */
		if (atomic_load_explicit(&slot->sequence, memory_order_acquire) != position + 1)
			break;

		const uint64_t index = slot->user_data;
		struct pending *pending = &ring->pending[index];

		if (index >= indexes || slot->flags || pending->state != PENDING_ACTIVE)
			break;

		const int32_t result = slot->result;

		ring->cqes[tail & mask] = (struct vdm_cqe){.user_data = pending->sqe.user_data,
							   .value = slot->value,
							   .result = result,
							   .operation = pending->number};
		ring->slots[tail & mask] = pending;
		pending->state = PENDING_NONE;
		failed += result != 0;
		tail++;
		position++;
	}
	ring->cq_position = position;
	ring->cqe_tail = tail;
	if (failed)
		ring_count(&ring->counters.failed, failed);
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

	if (index < ring_indexes(ring)) {
		struct pending *pending = &ring->pending[index];

		reap_special(ring, pending, slot);
		pending->state = PENDING_NONE;
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

void ring_lost(struct vdm_ring *ring)
{
	ring_reap(ring); /* what the daemon completed before it went is complete */
	ring->connected = false;
	for (uint32_t i = 0; i < ring_indexes(ring); i++) {
		struct pending *pending = &ring->pending[i];

		if (pending->state == PENDING_TAKEN_BACK)
			ring_end_taken_back(ring, pending);
		else if (pending->state != PENDING_NONE)
			ring_report(ring, pending, 0, -ENOTCONN);
		pending->state = PENDING_NONE;
	}
	ring->contested = 0;
	ring->cq_position = ring->sq_position; /* nothing is in flight */
	activity_set_in_flight(&ring->activity, false);
	if (ring->poll_fd >= 0)
		epoll_ctl(ring->poll_fd, EPOLL_CTL_DEL, ring->event_fd, NULL);
}
