/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VDM_CLIENT_RING_SUBMIT_H
#define VDM_CLIENT_RING_SUBMIT_H

#include "ring.h"

/* ring_advance(), when there is something to move. */
void ring_advance_waiting(struct vdm_ring *ring);

/* Move what has been submitted into its lanes, as far as fences allow. */
static inline void ring_advance(struct vdm_ring *ring)
{
	if (ring->dispatched != ring->submitted)
		ring_advance_waiting(ring);
}

/*
 * Carry out the next operation in this process if the ring has no room for it, and if it is one
 * that might be taken back from the ring. Returns whether it was.
 */
bool ring_run_waiting(struct vdm_ring *ring, uint64_t most_bytes);

/* Whether an operation on this memory would go to the daemon; `src` is NULL where there is none. */
bool ring_offloads(struct vdm_ring *ring, const void *dest, const void *src, size_t n);

/* Whether some of this memory lies in a region of a file; `src` is NULL where there is none. */
bool ring_concerns_file(struct vdm_ring *ring, const void *dest, const void *src, size_t n);

#endif
