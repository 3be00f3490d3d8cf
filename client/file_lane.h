/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file lane of a ring: a second ring of the same size within this process, which the client's
 * file engine serves. An operation that concerns a region of a file is published there, by its
 * addresses. The engine's backend knows which addresses are of files. The lane's completions are
 * copied to those of the ring when the ring looks for completions.
 *
 * A chain with such an operation takes this lane as a whole: the engine keeps links, and its CPU
 * carries out operations on memory. A bad entry of such a chain is published too, as an operation
 * that the engine refuses, and gets its own error when it is reaped.
 *
 * There is always room: the ring has at most `entries` operations in flight in all lanes together.
 *
 * Order. The daemon keeps the order of what is in its ring, and the file engine of what is in the
 * file lane. What runs in this process is complete before the next entry is looked at. Neither
 * side knows of the other, so the ring keeps the order between them. It gives entries to lanes in
 * the order of their submission:
 *
 * - An ordered operation (one with a fence, or a flush) begins after all earlier ones have
 *   completed. It enters a lane when nothing is in flight in the other one, that is, when all of
 *   that has been reaped. Operations that were taken back and not answered count as in flight.
 * - Later operations begin after an ordered one has begun. They enter the other lane when the
 *   ordered one's lane is settled: ring_order_settled() is true of an ordered operation that has
 *   begun, whatever the other lane does, since it counts completions of one lane only.
 * - A link orders nothing but its chain, which is in one lane.
 *
 * ring_take_back() sees the daemon's ring alone, and that suffices: while an ordered operation of
 * the file lane has not begun, the daemon's ring is empty. Nothing was in flight there when the
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

/* Publish the next `count` entries of the ring, which are one or a chain. Returns 0, or a negative
 * errno: the lane cannot be opened. */
int file_lane_publish(struct vdm_ring *ring, uint32_t count);

/* Collect the completions that are there. The ring has a lane. */
void file_lane_reap(struct vdm_ring *ring);

/* Close the ring's lane, if it has one. What is being carried out ends before. */
void file_lane_close(struct vdm_ring *ring);

/* Wait until everything is complete that has been published in file lanes of the client. Every
 * ring has been inactive before, see activity.h. */
void file_lanes_await(struct vdm_client *client);

/* Whether every ordered operation of the lane has begun. */
static inline bool file_lane_settled(const struct vdm_ring *ring)
{
	return !ring->files || ring_order_settled(ring->files);
}

#endif
