/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_signal.h"

#include <sys/eventfd.h>

#include "cancellation.h"

void ring_arm(struct vdm_ring *ring, uint32_t wanted)
{
	/* relaxed, ordered by the release that follows; partner: consumer_signal() */
	atomic_store_explicit(&ring->client_line->wanted, wanted, memory_order_relaxed);
	/* release, then full barrier; partner: consumer_signal(), which publishes a completion,
	 * passes a full barrier and reads this (I6) */
	atomic_store_explicit(&ring->client_line->arm, ++ring->arms, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
}

void ring_signal_self(struct vdm_ring *ring)
{
	WITHOUT_CANCELLATION; /* the ring may be active, see activity.h */
	if (!ring->self_signalled)
		eventfd_write(ring->self_fd, 1);
	ring->self_signalled = true;
}
