/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_eventfd.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cancellation.h"
#include "error.h"
#include "fork.h"
#include "ring_progress.h"
#include "ring_signal.h"

/* Ask for a signal for the next completion, unless that has been done. */
static void arm_lane(const struct vdm_ring *ring, struct vdm_ring *lane)
{
	if (ring->armed && lane->armed_at == lane->cq_position)
		return;
	lane->armed_at = lane->cq_position;
	ring_arm(lane, lane->cq_position + 1);
}

/* Have vdm_ring_eventfd()'s descriptor become readable when the next completion is there, and look
 * again. That look may use the request up without a completion for the caller, when it finds the
 * answer for an operation that was taken back: then ask for the next one. */
static void arm_for_next(struct vdm_ring *ring)
{
	do {
		if (ring->connected)
			arm_lane(ring, ring);
		for (unsigned i = 0; i < FILE_LANES; i++)
			if (ring->lanes[i] && ring->lanes[i]->connected)
				arm_lane(ring, ring->lanes[i]);
		ring->armed = true;
		ring_progress(ring);
	} while (ring->connected && ring_unseen(ring) == 0 && ring->armed_at != ring->cq_position);
}

void ring_eventfd_arm(struct vdm_ring *ring)
{
	WITHOUT_CANCELLATION;
	uint64_t value;

	if (ring->self_signalled && read(ring->self_fd, &value, sizeof value) >= 0)
		ring->self_signalled = false;
	ring_take_signals(ring);
	arm_for_next(ring);
}

void ring_eventfd_after_wait(struct vdm_ring *ring, unsigned given)
{
	if (!ring->armed)
		arm_for_next(ring);
	if (ring_unseen(ring) > given)
		ring_signal_self(ring);
}

/* Returns 0; or -1 with errno set. */
static int watch(int poll_fd, const struct vdm_ring *side)
{
	struct epoll_event event = {.events = EPOLLIN};

	return side && side->connected ? epoll_ctl(poll_fd, EPOLL_CTL_ADD, side->event_fd, &event)
				       : 0;
}

int vdm_ring_eventfd(struct vdm_ring *ring)
{
	if (fork_happened(ring->epoch))
		return fork_error();
	if (ring->poll_fd >= 0)
		return ring->poll_fd;

	struct epoll_event event = {.events = EPOLLIN};
	int poll_fd = epoll_create1(EPOLL_CLOEXEC);
	int self_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (poll_fd < 0 || self_fd < 0 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, self_fd, &event) < 0 ||
	    watch(poll_fd, ring) < 0 || watch(poll_fd, ring->lanes[FILE_LANE_HERE]) < 0 ||
	    watch(poll_fd, ring->lanes[FILE_LANE_FILER]) < 0) {
		int error = errno;

		if (poll_fd >= 0)
			close(poll_fd);
		if (self_fd >= 0)
			close(self_fd);
		return fail(-error, "cannot open a descriptor for the ring: %s", strerror(error));
	}
	ring->poll_fd = poll_fd;
	ring->self_fd = self_fd;
	ring_eventfd_arm(ring);
	/* Completions that are there already make it readable too. */
	if (ring_unseen(ring) > 0)
		ring_signal_self(ring);
	return poll_fd;
}
