/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_signal.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "cancellation.h"
#include "conversation.h"

void ring_arm(struct vdm_ring *ring, uint32_t wanted)
{
	/* relaxed, ordered by the release that follows; partner: consumer_signal() */
	atomic_store_explicit(&ring->client_line->wanted, wanted, memory_order_relaxed);
	/* release, then full barrier; partner: consumer_signal(), which publishes a completion,
	 * passes a full barrier and reads this (I6) */
	atomic_store_explicit(&ring->client_line->arm, ++ring->arms, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
}

void ring_set_doorbell(struct vdm_ring *ring, int fd)
{
	struct stat status;

	ring->doorbell_fd = fd;
	ring->doorbell_is_socket = fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

void ring_ring_doorbell(const struct vdm_ring *ring)
{
	static const uint64_t one = 1;

	if (!ring->doorbell_is_socket) {
		eventfd_write(ring->doorbell_fd, 1);
		return;
	}
	/* A socket that is full (EAGAIN) has been rung often enough. One that the kernel has no
	 * memory for has not been rung, and no one else would do it. */
	while (send(ring->doorbell_fd, &one, sizeof one, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
	       (errno == EINTR || conversation_may_retry(-errno)))
		poll(NULL, 0, RETRY_MS);
}

void ring_signal_self(struct vdm_ring *ring)
{
	WITHOUT_CANCELLATION; /* the ring may be active, see activity.h */
	if (!ring->self_signalled)
		eventfd_write(ring->self_fd, 1);
	ring->self_signalled = true;
}
