/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A waiting thread carries out operations that the daemon has not begun, so that offloading costs
 * no time on a machine whose CPUs are all busy copying. (A daemon that sleeps has been woken, and
 * is waited for.)
 *
 * An operation that has been taken back stays in the ring until the daemon comes to it, finds that
 * it was taken back, and answers. The answer is dropped. The positions that are taken back are one
 * range, because one store can tell the daemon of a range. It grows at both ends. A new one begins
 * when everything in the old one has been answered.
 */
#include "ring_take_back.h"

#include "ring_local.h"
#include "ring_report.h"
#include "ring_submit.h"

/* Larger operations are taken back only if the caller waits for everything in flight: otherwise
 * another completion may come sooner. 50 us at 20 GB/s. */
#define SHORT_BYTES ((uint64_t)1 << 20)

/* Extend the range by one position, and return that position. */
static uint32_t extend(const struct vdm_ring *ring, uint32_t *from, uint32_t *to)
{
	if (ring->taken_back == 0) { /* a new range, from the end, which the daemon reaches last */
		*to = ring->sq_position;
		*from = *to - 1;
		return *from;
	}
	*from = ring->taken_back_from;
	*to = ring->taken_back_to;
	return *to != ring->sq_position ? (*to)++ : --*from;
}

/* The operation at a position that is in flight, or NULL. */
static struct pending *pending_at(struct vdm_ring *ring, uint32_t position)
{
	const struct vdm_descriptor *d = ring_descriptor(ring, position);

	/* relaxed: this thread stored it */
	if (atomic_load_explicit(&d->sequence, memory_order_relaxed) != position + 1)
		return NULL;

	struct pending *pending = &ring->pending[d->user_data];
	bool mine = pending->state == PENDING_ACTIVE || pending->state == PENDING_CONTESTED;

	return mine && pending->position == position ? pending : NULL;
}

/* Whether the daemon claims the operation before it begins it. Nothing is taken back while an
 * ordered operation has not begun. */
static bool may_take(const struct vdm_ring *ring, uint32_t position, bool needed)
{
	const struct vdm_descriptor *d = ring_descriptor(ring, position);

	return ring_order_settled(ring) && d->length > VDM_CLAIM_BYTES &&
	       (needed || d->length <= SHORT_BYTES);
}

static bool is_claimed(const struct vdm_ring *ring, uint32_t position)
{
	/* acquire; partner: consumer_claim() */
	uint32_t claimed = atomic_load_explicit(&ring->daemon_line->claimed, memory_order_acquire);

	return (int32_t)(claimed - position) > 0;
}

bool ring_doorbell_unanswered(const struct vdm_ring *ring)
{
	/* relaxed: a hint; partner: scheduler_poll() */
	return ring->connected &&
	       atomic_load_explicit(&ring->daemon_line->doorbell_wanted, memory_order_relaxed) != 0;
}

static bool take_back(struct vdm_ring *ring, bool needed)
{
	uint32_t from, to, position;
	struct operation operation;

	/* the ring is full, perhaps of what has been taken back */
	if (ring->dispatched != ring->submitted)
		return ring->taken_back > 0 &&
		       ring_run_waiting(ring, needed ? UINT64_MAX : SHORT_BYTES);
	position = extend(ring, &from, &to);

	struct pending *pending = pending_at(ring, position);

	if (!pending || !may_take(ring, position, needed) || is_claimed(ring, position) ||
	    !ring_translate(ring, position, &operation))
		return false;
	ring->taken_back_from = from;
	ring->taken_back_to = to;
	/* release, then full barrier; partner: consumer_claim(), which claims, passes a full
	 * barrier and reads this */
	atomic_store_explicit(&ring->client_line->taken_back, (uint64_t)to << 32 | from,
			      memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
	if (is_claimed(ring, position)) {
		/* at the same time: if the daemon has seen this, its completion says so, and
		 * ring_reap() carries it out */
		ring->contested += pending->state != PENDING_CONTESTED;
		pending->state = PENDING_CONTESTED;
		return false;
	}
	ring_run_taken_back(ring, &operation);
	pending->state = PENDING_TAKEN_BACK;
	ring->taken_back++;
	ring_report_taken_back(ring, pending, operation.length);
	return true;
}

bool ring_take_back(struct vdm_ring *ring, bool needed)
{
	if (!ring->takes_back || !ring->connected)
		return false;
	activity_enter(&ring->activity);
	bool taken = take_back(ring, needed);

	activity_leave(&ring->activity);
	return taken;
}
