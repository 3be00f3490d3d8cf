/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_flight.h"

#include <errno.h>
#include <sys/epoll.h>

#include "ring_local.h"

void ring_report(struct vdm_ring *ring, const struct pending *pending, uint64_t value,
		 int32_t result)
{
	struct vdm_cqe *cqe = &ring->cqes[ring->cqe_tail++ & ring->mask];

	*cqe = (struct vdm_cqe){.user_data = pending->user_data,
				.value = value,
				.result = result,
				.operation = pending->number};
	if (result)
		ring_count(&ring->counters.failed, 1);
}

/* The operation is no longer in flight. */
static void retire(struct vdm_ring *ring, struct pending *pending)
{
	pending->state = PENDING_NONE;
	pending->next = ring->free_pending;
	ring->free_pending = (uint32_t)(pending - ring->pending);
}

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
		ring->taken_back--;
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
	const uint32_t end = ring->sq_position;
	uint32_t position = ring->cq_position, tail = ring->cqe_tail;
	uint32_t free_pending = ring->free_pending, failed = 0;

	while (position != end) {
		const struct vdm_completion *slot = &ring->completions[position & ring->mask];

		/* acquire; partner: consumer_complete(), release: a thread that sees this word sees
		 * the bytes moved */
		if (atomic_load_explicit(&slot->sequence, memory_order_acquire) != position + 1)
			break;

		const uint64_t index = slot->user_data;

		if (index >= ring->entries || slot->flags ||
		    ring->pending[index].state != PENDING_ACTIVE)
			break;

		struct pending *pending = &ring->pending[index];
		struct vdm_cqe *cqe = &ring->cqes[tail++ & ring->mask];
		const int32_t result = slot->result;

		*cqe = (struct vdm_cqe){.user_data = pending->user_data,
					.value = slot->value,
					.result = result,
					.operation = pending->number};
		failed += result != 0;
		pending->state = PENDING_NONE;
		pending->next = free_pending;
		free_pending = (uint32_t)index;
		position++;
	}
	ring->cq_position = position;
	ring->cqe_tail = tail;
	ring->free_pending = free_pending;
	if (failed)
		ring_count(&ring->counters.failed, failed);
}

/* Collect the next completion, whatever it is. Returns whether there was one. */
static bool reap_other(struct vdm_ring *ring)
{
	const struct vdm_completion *slot = &ring->completions[ring->cq_position & ring->mask];

	/* acquire; partner: consumer_complete(), release: a thread that sees this word sees the
	 * bytes moved */
	if (ring_in_flight(ring) == 0 ||
	    atomic_load_explicit(&slot->sequence, memory_order_acquire) != ring->cq_position + 1)
		return false;
	ring->cq_position++;

	const uint64_t index = slot->user_data;

	if (index < ring->entries) {
		struct pending *pending = &ring->pending[index];

		reap_special(ring, pending, slot);
		retire(ring, pending);
	}
	return true;
}

void ring_reap(struct vdm_ring *ring)
{
	if (!ring->connected)
		return;
	do
		reap_plain(ring);
	while (reap_other(ring));
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
	for (uint32_t i = 0; i < ring->entries; i++) {
		if (ring->pending[i].state == PENDING_NONE)
			continue;
		if (ring->pending[i].state != PENDING_TAKEN_BACK)
			ring_report(ring, &ring->pending[i], 0, -ENOTCONN);
		retire(ring, &ring->pending[i]);
	}
	ring->taken_back = ring->contested = 0;
	ring->cq_position = ring->sq_position; /* nothing is in flight */
	activity_set_in_flight(&ring->activity, false);
	if (ring->poll_fd >= 0)
		epoll_ctl(ring->poll_fd, EPOLL_CTL_DEL, ring->event_fd, NULL);
}
