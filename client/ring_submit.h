/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VDM_CLIENT_RING_SUBMIT_H
#define VDM_CLIENT_RING_SUBMIT_H

#include "ring.h"

/* Move what has been submitted into its lanes, as far as fences allow. */
void ring_advance(struct vdm_ring *ring);

/*
 * Carry out the next operation in this process that the ring has no room for, if it is one that might be taken back
 * from the ring. Returns whether there was one.
 */
bool ring_run_waiting(struct vdm_ring *ring, uint64_t most_bytes);

/* Whether an operation on this memory would go to the daemon; `src` is NULL where there is none. */
bool ring_offloads(struct vdm_ring *ring, const void *dest, const void *src, size_t n);

#endif
