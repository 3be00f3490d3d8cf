/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_progress.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "cancellation.h"
#include "coarse_clock.h"
#include "file_lane.h"
#include "ring_flight.h"
#include "ring_recovery.h"
#include "ring_submit.h"

/* How often ring_look_for_hangup() looks at the socket, and how many calls pass between two looks
 * at the clock. */
#define HANGUP_LOOK_MS  100
#define PEEKS_PER_CLOCK 16

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

static void look_at(struct vdm_ring *ring, struct vdm_ring *side)
{
	/* The signals are not read: another thread, of a mover, may be sleeping for them. */
	struct pollfd event = {.fd = side->event_fd, .events = POLLRDHUP};

	if (side->connected && poll(&event, 1, 0) > 0)
		ring_lost(ring, side);
}

static bool is_time_to_look(struct vdm_ring *ring)
{
	if (++ring->hangup_looks % PEEKS_PER_CLOCK != 0)
		return false;

	int64_t now = coarse_ms();

	if (now - ring->hangup_looked_ms < HANGUP_LOOK_MS)
		return false;
	ring->hangup_looked_ms = now;
	return true;
}

void ring_look_for_hangup(struct vdm_ring *ring)
{
	if (ring_in_flight(ring) + ring_files_in_flight(ring) == 0 || !is_time_to_look(ring))
		return;
	WITHOUT_CANCELLATION;
	look_at(ring, ring);
	if (ring->lanes[FILE_LANE_FILER])
		look_at(ring, ring->lanes[FILE_LANE_FILER]);
}

void ring_look_when_idle(struct vdm_ring *ring)
{
	if (ring_in_flight(ring) > ring->taken_back || !is_time_to_look(ring))
		return;
	WITHOUT_CANCELLATION;
	look_at(ring, ring);
}

void ring_poll(struct vdm_ring *ring)
{
	ring_progress(ring);
	if (ring_unseen(ring) == 0)
		ring_look_for_hangup(ring);
}
