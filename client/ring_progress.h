/* SPDX-License-Identifier: BSD-3-Clause */
/* Collecting completions without waiting, and noticing that the daemon has gone. */
#ifndef VDM_CLIENT_RING_PROGRESS_H
#define VDM_CLIENT_RING_PROGRESS_H

#include "ring.h"

/* Collect completions, and go on with what waited for them. */
void ring_progress(struct vdm_ring *ring);

/* Read the signals that have come, and notice a hang-up. */
void ring_take_signals(struct vdm_ring *ring);

/* ring_progress(), and ring_look_for_hangup() if there is no completion. Nothing is armed. */
void ring_poll(struct vdm_ring *ring);

#endif
