/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file lanes of a ring: other rings of its size, in which operations are published that concern
 * regions of files. There are two, which are opened when they are needed.
 *
 * - The filer's (filer.h) serves what lies wholly in regions that the filer knows. It names memory
 *   by region and offset, as a ring of the daemon does.
 * - One within this process, which the client's file engine serves, has the rest. It names memory
 *   by address, and the engine's backend knows which addresses are of files.
 *
 * The completions of a lane are copied to those of the ring when the ring looks for completions.
 *
 * A chain with such an operation takes one of these lanes as a whole: the engine there keeps links,
 * and its CPU carries out operations on memory. A bad entry of such a chain is published too, as an
 * operation that the engine refuses, and gets its own error when it is reaped.
 *
 * There is always room: the ring has at most `entries` operations in flight in all lanes together.
 *
 * Order. The daemon, the filer and the file engine keep the order of what is in their own rings.
 * What runs in this process is complete before the next entry is looked at. No side knows of the
 * others, so the ring keeps the order between them. It gives entries to lanes in the order of their
 * submission:
 *
 * - An ordered operation (one with a fence, or a flush) begins after all earlier ones have
 *   completed. It enters a lane when nothing is in flight in the other ones, that is, when all of
 *   that has been reaped. Operations that were taken back and not answered count as in flight.
 * - Later operations begin after an ordered one has begun. They enter another lane when the ordered
 *   one's lane is settled: ring_order_settled() is true of an ordered operation that has begun,
 *   whatever the other lanes do, since it counts completions of one lane only.
 * - A link orders nothing but its chain, which is in one lane.
 *
 * ring_take_back() sees the daemon's ring alone, and that suffices: while an ordered operation of a
 * file lane has not begun, the daemon's ring is empty. Nothing was in flight there when the
 * operation entered its lane, and nothing later has entered the daemon's ring since.
 */
#ifndef VDM_CLIENT_FILE_LANE_H
#define VDM_CLIENT_FILE_LANE_H

#include <stdbool.h>

#include "ring.h"

struct vdm_client;

/*
 * Check an entry that is well-formed, when the client has file regions. Returns 0 and stores
 * whether it concerns one; or -EFAULT: it lies partly in one; -EACCES: it would write one that may
 * only be read; -EOPNOTSUPP: it has to be durable, and is not for a file.
 */
int file_lane_check(const struct vdm_ring *ring, const struct vdm_sqe *sqe, bool *of_file);

/*
 * Move the next `count` entries of the ring, which are one or a chain, into a file lane. Returns
 * false if they have to wait, for what is in flight or, with ring->lane_wanted, for
 * file_lane_open(). The ring is active, see activity.h.
 */
bool file_lane_advance(struct vdm_ring *ring, uint32_t count, bool ordered);

/* Open the lane that is wanted, or store in the ring why that fails. It takes as long as an answer
 * of the daemon. The ring is not active. */
__attribute__((cold, noinline)) void file_lane_open(struct vdm_ring *ring);

/* Collect the completions that are there. */
void file_lanes_reap(struct vdm_ring *ring);

/* Close the ring's lanes. What is being carried out ends before. */
void file_lanes_close(struct vdm_ring *ring);

/* Wait until everything is complete that has been published in file lanes of the client within this
 * process. Every ring has been inactive before, see activity.h. */
void file_lanes_await(struct vdm_client *client);

/* Whether every ordered operation of the file lanes has begun. */
static inline bool file_lanes_settled(const struct vdm_ring *ring)
{
	for (unsigned i = 0; ring->has_lanes && i < FILE_LANES; i++)
		if (ring->lanes[i] && !ring_order_settled(ring->lanes[i]))
			return false;
	return true;
}

#endif
