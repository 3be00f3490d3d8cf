/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_active.h"

#include "base/barrier.h"

void ring_tell_left(struct vdm_client *client)
{
	pthread_mutex_lock(&client->lock);
	pthread_cond_broadcast(&client->ring_left);
	pthread_mutex_unlock(&client->lock);
}

static struct vdm_ring *ring_after(struct vdm_client *client, const struct vdm_ring *ring)
{
	return ring ? LIST_NEXT(ring, entry) : LIST_FIRST(&client->rings);
}

bool rings_await_leave(struct vdm_client *client)
{
	bool in_flight = false;
	struct vdm_ring *ring = NULL;

	/* relaxed, then a full barrier here and in the rings' threads; partners: ring_enter(), ring_leave() */
	atomic_fetch_add_explicit(&client->leavers_awaited, 1, memory_order_relaxed);
	if (client->reaches_threads)
		barrier_for_own_threads();
	else
		atomic_thread_fence(memory_order_seq_cst);
	while ((ring = ring_after(client, ring))) {
		/* acquire; partner: ring_leave(): what its thread did is done */
		uint32_t activity = atomic_load_explicit(&ring->activity, memory_order_acquire);

		if (activity % 2 != 0) {
			pthread_cond_wait(&client->ring_left, &client->lock);
			ring = NULL; /* the list may be another one: begin again */
			continue;
		}
		in_flight |= atomic_load_explicit(&ring->busy, memory_order_relaxed); /* partner: ring_set_busy() */
	}
	atomic_fetch_sub_explicit(&client->leavers_awaited, 1, memory_order_relaxed);
	return in_flight;
}
