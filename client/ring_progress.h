/* SPDX-License-Identifier: BSD-3-Clause */
/* Collecting completions without waiting, and noticing that the daemon has gone. */
#ifndef VDM_CLIENT_RING_PROGRESS_H
#define VDM_CLIENT_RING_PROGRESS_H

#include "ring.h"

/* Collect completions, and go on with what waited for them. */
void ring_progress(struct vdm_ring *ring);

/* Read the signals that have come, and notice a hang-up. */
void ring_take_signals(struct vdm_ring *ring);

/* Now and then, see whether the daemon has hung up: for a caller that has found too little and
 * does not sleep, or has carried out what the daemon had not begun. */
void ring_look_for_hangup(struct vdm_ring *ring);

/* Whether the client has met another daemon, or another filer, than the ring has. Then that has
 * gone. */
static inline bool ring_outlived(const struct vdm_ring *ring)
{
	const struct vdm_ring *filer = ring->lanes[FILE_LANE_FILER];

	return (ring->connected && ring->view.outlived) ||
	       (filer && filer->connected && filer->view.outlived);
}

/* ring_progress(), and ring_look_for_hangup() if there is no completion. Nothing is armed. */
void ring_poll(struct vdm_ring *ring);

#endif
