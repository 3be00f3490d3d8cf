/* SPDX-License-Identifier: BSD-3-Clause */
/* Finding completions without waiting. */
#include <errno.h>

#include "fork.h"
#include "ring_eventfd.h"
#include "ring_hangup.h"
#include "ring_progress.h"

unsigned vdm_ring_peek_batch(struct vdm_ring *ring, struct vdm_cqe **cqes, unsigned count)
{
	if (fork_happened(ring->epoch))
		return 0;
	if (ring_unseen(ring) < count)
		ring_progress(ring);
	if (ring_unseen(ring) == 0 && ring->poll_fd >= 0)
		ring_eventfd_arm(ring);
	else if (ring_unseen(ring) < count)
		ring_look_for_hangup(ring);
	if (count > ring_unseen(ring))
		count = ring_unseen(ring);
	ring_list_unseen(ring, cqes, count);
	return count;
}

int vdm_ring_peek_cqe(struct vdm_ring *ring, struct vdm_cqe **cqe)
{
	if (fork_happened(ring->epoch))
		return fork_error();
	return vdm_ring_peek_batch(ring, cqe, 1) == 1 ? 0 : -EAGAIN;
}
