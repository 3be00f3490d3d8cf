/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The death of the daemon, which a ring outlives. What the daemon had completed is reaped. What it
 * had not is put back in front of the entries that wait, in the order of their submission, and is
 * given to lanes again: to a new daemon if there is one, or else to this process. Entries keep
 * their places (ring.h), so the caller sees nothing of it.
 *
 * The proof. An operation must not be repeated while a worker may still be carrying it out: the
 * caller gets its completion, uses the memory for something else, and a late store would spoil
 * that. The other end of a ring's event channel is in the engine's process alone. It is closed by
 * that process, after the engine has let go of the ring; or by the kernel. A process that is killed
 * closes its descriptors when the last of its threads has given up the table of descriptors, which
 * all share (exit_files of the Linux kernel), and a thread that has done so never returns to
 * its program. So when the channel hangs up, nothing moves the ring's bytes. No
 * thread of the daemon has a table of its own, which unshare(2) would give it.
 *
 * Repeating. An operation whose ranges do not overlap may be carried out any number of times, as
 * long as neither range is used for anything else, which the caller guarantees until its
 * completion. A daemon is therefore given no other ones, see describe(). An operation that two
 * daemons have not survived is carried out in this process. The rest of a chain that has failed is
 * cancelled, not repeated. Memory whose region the caller has released meanwhile is not touched:
 * the operation completes with -EFAULT.
 */
#ifndef VDM_CLIENT_RING_RECOVERY_H
#define VDM_CLIENT_RING_RECOVERY_H

#include "coarse_clock.h"
#include "ring.h"

/*
 * The other side of the ring, or of one of its file lanes (`side`), has hung up: put back what it
 * has not completed. With VDM_OPTION_NO_RECOVERY that completes with -ENOTCONN instead.
 */
void ring_lost(struct vdm_ring *ring, struct vdm_ring *side);

/*
 * Have a new daemon serve a ring that is not connected, if there is one. Waits for its answer for
 * ring->patience_ms. The ring is not active, see activity.h.
 */
__attribute__((cold, noinline)) void ring_come_back(struct vdm_ring *ring);

/* How often to look for a daemon or filer. A look takes 20 us if there is none. */
#define RING_LOOK_MS 20

/* A look is long if the other side does not answer. The pause after it is this many times as
 * long. */
#define RING_LOOK_SHARE 20

/* When to look again, after a look from `begin` to `end`: ms, CLOCK_MONOTONIC. */
static inline int64_t ring_next_look(int64_t begin, int64_t end)
{
	const int64_t pause = (end - begin) * RING_LOOK_SHARE;

	return end + (pause > RING_LOOK_MS ? pause : RING_LOOK_MS);
}

/* Take the time since `begin` (ms, CLOCK_MONOTONIC) off ring->patience_ms. */
static inline void ring_spend_patience(struct vdm_ring *ring, int64_t begin)
{
	const int64_t spent = coarse_ms() - begin;

	ring->patience_ms -= spent < ring->patience_ms ? (unsigned)spent : ring->patience_ms;
}

/* Whether a daemon may be given an entry that is dispatched again. */
static inline bool ring_may_repeat(const struct pending *pending)
{
	return pending->deaths < 2;
}

#endif
