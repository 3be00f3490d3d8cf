/* SPDX-License-Identifier: BSD-3-Clause */
/* vdm_ring_eventfd()'s descriptor. */
#ifndef VDM_CLIENT_RING_EVENTFD_H
#define VDM_CLIENT_RING_EVENTFD_H

#include "ring.h"

/* A peek has found nothing: have the descriptor become readable when the next completion is
 * there. */
void ring_eventfd_arm(struct vdm_ring *ring);

/*
 * A wait has read the signals that came, and replaced the request that the descriptor was armed
 * with. The caller gets `given` completions. The descriptor has to tell of all others: of those
 * that are there and of those that will come.
 */
void ring_eventfd_after_wait(struct vdm_ring *ring, unsigned given);

#endif
