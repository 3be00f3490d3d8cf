/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_hangup.h"

#include <poll.h>

#include "cancellation.h"
#include "coarse_clock.h"
#include "ring_recovery.h"
#include "ring_signal.h"

/* How often ring_look_for_hangup() looks at the socket, and how many calls pass between two looks
 * at the clock. */
#define HANGUP_LOOK_MS  100
#define PEEKS_PER_CLOCK 16

static void look_at(struct vdm_ring *ring, struct vdm_ring *side)
{
	/* The signals are not read: another thread, of a mover, may be sleeping for them. */
	struct pollfd event = {.fd = side->event_fd, .events = POLLRDHUP};

	if (!side->connected || poll(&event, 1, 0) <= 0)
		return;
	ring_lost(ring, side);
	if (ring->poll_fd >= 0) /* the hang-up can no longer wake it */
		ring_signal_self(ring);
}

void ring_look_for_hangup(struct vdm_ring *ring)
{
	if ((ring_in_flight(ring) + ring_files_in_flight(ring) == 0 && !ring->outside) ||
	    ++ring->hangup_looks % PEEKS_PER_CLOCK != 0)
		return;

	int64_t now = coarse_ms();

	if (now - ring->hangup_looked_ms < HANGUP_LOOK_MS)
		return;
	ring->hangup_looked_ms = now;
	ring->outside = false;
	WITHOUT_CANCELLATION;
	look_at(ring, ring);
	if (ring->lanes[FILE_LANE_FILER])
		look_at(ring, ring->lanes[FILE_LANE_FILER]);
}
