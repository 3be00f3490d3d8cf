/* SPDX-License-Identifier: BSD-3-Clause */
/* Asking the daemon for a signal, ringing its doorbell, and signalling the ring's own
 * descriptor. */
#ifndef VDM_CLIENT_RING_SIGNAL_H
#define VDM_CLIENT_RING_SIGNAL_H

#include "ring.h"

/* Ask for a signal when the completion count has reached `wanted`, and pass a full barrier. */
void ring_arm(struct vdm_ring *ring, uint32_t wanted);

/* Store the doorbell, which is the ring's from now on, and what it is. */
void ring_set_doorbell(struct vdm_ring *ring, int fd);

/* Ring it. */
void ring_ring_doorbell(const struct vdm_ring *ring);

/* Make vdm_ring_eventfd()'s descriptor readable, for completions of this process. */
void ring_signal_self(struct vdm_ring *ring);

#endif
