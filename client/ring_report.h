/* SPDX-License-Identifier: BSD-3-Clause */
/* Reporting completions to the caller of a ring. */
#ifndef VDM_CLIENT_RING_REPORT_H
#define VDM_CLIENT_RING_REPORT_H

#include "ring.h"

/* Report an entry complete. `place` is free from now on. */
static inline void ring_report_in(struct vdm_ring *ring, const struct pending *pending,
				  struct pending *place, uint64_t value, int32_t result)
{
	const uint32_t tail = ring->cqe_tail++;

	place->deaths = 0;
	ring->slots[tail & ring->mask] = place;
	ring->cqes[tail & ring->mask] = (struct vdm_cqe){.user_data = pending->sqe.user_data,
							 .value = value,
							 .result = result,
							 .operation = pending->number};
	if (result)
		ring_count(&ring->counters.failed, 1);
}

/* Report an entry complete, and free its place. */
static inline void ring_report(struct vdm_ring *ring, struct pending *pending, uint64_t value,
			       int32_t result)
{
	ring_report_in(ring, pending, pending, value, result);
}

/* Report an entry complete whose operation was taken back. Its place stays in use until the daemon
 * has answered. */
static inline void ring_report_taken_back(struct vdm_ring *ring, const struct pending *pending,
					  uint64_t value)
{
	ring_report_in(ring, pending, ring->spare[--ring->spare_count], value, 0);
}

/* The daemon has answered, or has gone. */
static inline void ring_end_taken_back(struct vdm_ring *ring, struct pending *pending)
{
	pending->deaths = 0;
	ring->spare[ring->spare_count++] = pending;
	ring->taken_back--;
}

#endif
