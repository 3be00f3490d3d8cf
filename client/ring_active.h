/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The moments in which a ring's thread uses the client's regions: it looks up addresses in them, publishes operations,
 * carries some out. A thread that releases a region takes it out of the list, and then waits until each ring has left
 * the moment it is in; in the next one it is not found any more.
 */
#ifndef VDM_CLIENT_RING_ACTIVE_H
#define VDM_CLIENT_RING_ACTIVE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "ring_internal.h"

/* The rings' threads pay for two stores: rings_await_leave() passes the barrier for them (membarrier(2)). */
static inline void ring_active_barrier(const struct vdm_client *client)
{
	if (client->reaches_threads)
		atomic_signal_fence(memory_order_seq_cst);
	else
		atomic_thread_fence(memory_order_seq_cst);
}

static inline void ring_step_activity(struct vdm_ring *ring)
{
	/* release; partner: rings_await_leave(), acquire. The ring's thread is the only writer. */
	atomic_store_explicit(&ring->activity,
			      atomic_load_explicit(&ring->activity, memory_order_relaxed) + 1, memory_order_release);
}

/* Call before client->changes is read. Must not be nested. A ring within this process knows no regions. */
static inline void ring_enter(struct vdm_ring *ring)
{
	if (!ring->client)
		return;
	ring_step_activity(ring);
	/* between this and the look at client->changes; partner: rings_await_leave(), after the change */
	ring_active_barrier(ring->client);
}

/* Wake the threads in rings_await_leave(). */
void ring_tell_left(struct vdm_client *client);

static inline void ring_leave(struct vdm_ring *ring)
{
	if (!ring->client)
		return;
	ring_step_activity(ring);
	/* between this and the look for waiters; partner: rings_await_leave(), after it has counted itself */
	ring_active_barrier(ring->client);
	if (atomic_load_explicit(&ring->client->leavers_awaited, memory_order_relaxed) > 0)
		ring_tell_left(ring->client);
}

/* Wait until every ring of the client has left, with client->lock held. Returns whether operations are in flight. */
bool rings_await_leave(struct vdm_client *client);

#endif
