/* SPDX-License-Identifier: BSD-3-Clause */
/* vdm_ring_eventfd()'s descriptor. */
#ifndef VDM_CLIENT_RING_EVENTFD_H
#define VDM_CLIENT_RING_EVENTFD_H

#include "ring.h"

/* A peek has found nothing: have the descriptor become readable when the next completion is there. */
void ring_eventfd_arm(struct vdm_ring *ring);

/*
 * A wait has taken the signals that came, and replaced what the descriptor was armed for. The caller is given `given`
 * completions: the descriptor has to tell of all others, of those that are here already and of those that will come.
 */
void ring_eventfd_tell(struct vdm_ring *ring, unsigned given);

#endif
