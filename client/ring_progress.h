/* SPDX-License-Identifier: BSD-3-Clause */
/* Collecting completions without waiting, and noticing that the daemon has gone. */
#ifndef VDM_CLIENT_RING_PROGRESS_H
#define VDM_CLIENT_RING_PROGRESS_H

#include "ring.h"

/* Collect completions, and go on with what waited for them. */
void ring_progress(struct vdm_ring *ring);

/* Take the signals that have come; notice if no more can. */
void ring_take_signals(struct vdm_ring *ring);

/* A caller that only peeks or spins has found nothing: now and then, see whether the daemon has died. */
void ring_look_for_death(struct vdm_ring *ring);

/* Both without arming anything. */
void ring_poll(struct vdm_ring *ring);

#endif
