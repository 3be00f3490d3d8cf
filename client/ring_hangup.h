/* SPDX-License-Identifier: BSD-3-Clause */
/* Noticing the hang-up of a daemon without a sleep. */
#ifndef VDM_CLIENT_RING_HANGUP_H
#define VDM_CLIENT_RING_HANGUP_H

#include "ring.h"

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

#endif
