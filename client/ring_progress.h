/* SPDX-License-Identifier: BSD-3-Clause */
/* Collecting completions without waiting, and noticing that the daemon has gone. */
#ifndef VDM_CLIENT_RING_PROGRESS_H
#define VDM_CLIENT_RING_PROGRESS_H

#include "ring.h"

/* Collect completions, and go on with what waited for them. */
void ring_progress(struct vdm_ring *ring);

/* Read the signals that have come, and notice a hang-up. */
void ring_take_signals(struct vdm_ring *ring);

/* Now and then, see whether the daemon has hung up: for a caller that only peeks or spins, and has
 * found nothing. */
void ring_look_for_hangup(struct vdm_ring *ring);

/*
 * The same for a caller whose operation runs in this process because the ring knows no region of
 * it. With nothing in flight but what was taken back no wait would notice, and the ring would never
 * know the regions that another ring's connection to the next daemon has given numbers. Puts
 * nothing back.
 */
void ring_look_when_idle(struct vdm_ring *ring);

/* ring_progress(), and ring_look_for_hangup() if there is no completion. Nothing is armed. */
void ring_poll(struct vdm_ring *ring);

#endif
