/* SPDX-License-Identifier: BSD-3-Clause */
/* Carrying operations of a ring out in this process. */
#ifndef VDM_CLIENT_RING_LOCAL_H
#define VDM_CLIENT_RING_LOCAL_H

#include "op/operation.h"
#include "ring.h"

/* Carry out an entry that is valid, unless its destination may only be read. Returns its result. */
int ring_run_entry(struct vdm_ring *ring, const struct vdm_sqe *sqe, _Atomic uint64_t *counter);

/* Whether an entry that has been published names memory that is there, in regions up to the number
 * `newest`. Returns 0; or -EFAULT: its region has been released meanwhile. */
int ring_check_memory(const struct vdm_ring *ring, const struct vdm_sqe *sqe, uint32_t newest);

/* Take the next entry, and report its end. */
void ring_complete_entry(struct vdm_ring *ring, int result);

/* The operation that was published at `position`, in addresses of this process. False: its memory
 * has been released. */
bool ring_translate(struct vdm_ring *ring, uint32_t position, struct operation *operation);

/* Carry out an operation that has been taken back. */
void ring_run_taken_back(struct vdm_ring *ring, const struct operation *operation);

#endif
