/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VDM_CLIENT_RING_TAKE_BACK_H
#define VDM_CLIENT_RING_TAKE_BACK_H

#include "ring.h"

/*
 * Carry out an operation in this process that has been published and that the daemon has not begun:
 * a short one, or one of any length if the caller waits for everything in flight and so needs it.
 * Returns whether there was one.
 */
bool ring_take_back(struct vdm_ring *ring, bool needed);

/* Whether the daemon's doorbell has been rung and the daemon has not come to the ring yet. */
bool ring_doorbell_unanswered(const struct vdm_ring *ring);

#endif
