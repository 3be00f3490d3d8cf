/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VDM_CLIENT_RING_TAKE_BACK_H
#define VDM_CLIENT_RING_TAKE_BACK_H

#include "ring.h"

/*
 * Carry out an operation in this process that has been published and that the daemon has not begun: a short one, or any
 * if it is `needed`, because the caller waits for everything in flight. Returns whether there was one.
 */
bool ring_take_back(struct vdm_ring *ring, bool needed);

/* Whether the daemon was idle, has been woken, and has not come to the ring yet. */
bool ring_is_summoned(const struct vdm_ring *ring);

#endif
