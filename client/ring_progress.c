/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_progress.h"

#include <errno.h>
#include <sys/socket.h>

#include "file_lane.h"
#include "ring_flight.h"
#include "ring_hangup.h"
#include "ring_recovery.h"
#include "ring_submit.h"

void ring_progress(struct vdm_ring *ring)
{
	ring_reap(ring);
	if (ring->has_lanes)
		file_lanes_reap(ring);
	ring_advance(ring);
}

/* Of the ring itself, or of one of its file lanes. */
static void take_signals(struct vdm_ring *ring, struct vdm_ring *side)
{
	uint64_t signal;

	while (side->connected) {
		ssize_t got = recv(side->event_fd, &signal, sizeof signal, MSG_DONTWAIT);

		if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
			ring_lost(ring, side);
		else if (got < 0)
			return;
	}
}

void ring_take_signals(struct vdm_ring *ring)
{
	take_signals(ring, ring);
	for (unsigned i = 0; ring->has_lanes && i < FILE_LANES; i++)
		if (ring->lanes[i])
			take_signals(ring, ring->lanes[i]);
}

void ring_poll(struct vdm_ring *ring)
{
	ring_progress(ring);
	if (ring_unseen(ring) == 0)
		ring_look_for_hangup(ring);
}
