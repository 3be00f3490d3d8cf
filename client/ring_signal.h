/* SPDX-License-Identifier: BSD-3-Clause */
/* Asking for a signal, and signalling one's own descriptor. */
#ifndef VDM_CLIENT_RING_SIGNAL_H
#define VDM_CLIENT_RING_SIGNAL_H

#include "ring.h"

/* Ask for a signal when the completion count has reached `wanted`, and pass a full barrier. */
void ring_arm(struct vdm_ring *ring, uint32_t wanted);

/* Have vdm_ring_eventfd()'s descriptor tell of completions that came in this process. */
void ring_signal_self(struct vdm_ring *ring);

#endif
