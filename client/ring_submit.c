/* SPDX-License-Identifier: BSD-3-Clause */
/* Which lane an operation takes, and how it gets into it. */
#include "ring_submit.h"

#include <errno.h>

#include "entry.h"
#include "file_lane.h"
#include "fork.h"
#include "ring_hangup.h"
#include "ring_local.h"
#include "ring_publish.h"
#include "ring_recovery.h"

/* All but the first run in this process during the submit; LANE_SMALL has bad entries too. There is
 * one more lane, see file_lane.h. */
enum lane { LANE_REMOTE, LANE_SMALL, LANE_OUTSIDE, LANE_DISCONNECTED };

/* Check an entry. Returns 0 and stores whether it takes the file lane; or a negative errno. */
static int check(const struct vdm_ring *ring, const struct vdm_sqe *sqe, bool *of_file)
{
	*of_file = false;
	if (ring->view.file_count == 0)
		return entry_check_memory(sqe);

	const int result = entry_check(sqe);

	return result ? result : file_lane_check(ring, sqe, of_file);
}

/* The lane of a valid entry, which is described in `d` if it is the remote one. `large` says that
 * the operation is to be treated as above the threshold. */
static inline enum lane choose_lane(struct vdm_ring *ring, const struct vdm_sqe *sqe, bool large,
				    struct vdm_descriptor *d)
{
	const unsigned facts = entry_facts(sqe);

	if (!ring->connected)
		return LANE_DISCONNECTED;
	if (facts & OP_WRITES) {
		if (sqe->length < ring->threshold && !large)
			return LANE_SMALL;
		return describe(ring, sqe, d) ? LANE_REMOTE : LANE_OUTSIDE;
	}
	describe_nothing(d);
	/* An ordered operation that moves nothing orders what is in flight. If nothing is, it has
	 * nothing to do. */
	if ((facts & OP_ORDERED) && !large && ring_in_flight(ring) == 0 &&
	    ring_files_in_flight(ring) == 0 && ring->threshold > 1)
		return LANE_SMALL;
	return LANE_REMOTE;
}

/* Whether some of the range lies in a file. */
static bool touches_file(const struct vdm_ring *ring, const void *address, size_t n)
{
	bool unused;

	return region_view_file_share(&ring->view, address, n, &unused) != FILE_SHARE_NONE;
}

bool ring_concerns_file(struct vdm_ring *ring, const void *dest, const void *src, size_t n)
{
	if (!ring->client)
		return false;
	region_view_refresh(&ring->view, &ring->client->regions, ring->connection);
	return ring->view.file_count > 0 &&
	       (touches_file(ring, dest, n) || (src && touches_file(ring, src, n)));
}

bool ring_offloads(struct vdm_ring *ring, const void *dest, const void *src, size_t n)
{
	if (!ring->client)
		return false;
	if (!ring->connected)
		ring_come_back(ring);
	if (!ring->connected)
		return false;
	region_view_refresh(&ring->view, &ring->client->regions, ring->connection);
	/* the ring answers -EACCES, where a store in this process would raise SIGSEGV */
	if (region_view_forbids(&ring->view, dest, n))
		return true;
	if (n < ring->threshold)
		return false;

	uint64_t unused;

	if (region_view_find(&ring->view, REGION_DESTINATION, dest, n, &unused) &&
	    (!src || region_view_find(&ring->view, REGION_SOURCE, src, n, &unused)))
		return true;
	ring->outside = true;
	ring_look_for_hangup(ring);
	return false;
}

/* Check the memory of entry `i` of those that are about to be dispatched, if it has been dispatched
 * before. Returns 0 or -EFAULT. */
static int check_again(const struct vdm_ring *ring, uint32_t i, const struct pending *pending)
{
	return i < ring->again ? ring_check_memory(ring, &pending->sqe, pending->newest) : 0;
}

/* Whether a daemon may be given entry `i` of those that wait. */
static bool may_give(const struct vdm_ring *ring, uint32_t i)
{
	const struct pending *pending = ring_pending(ring, ring->dispatched + i);

	return ring_may_repeat(pending) && !check_again(ring, i, pending);
}

/* Take `count` entries in the local lane. If one fails, those that are linked to it are
 * cancelled. */
static void run_here(struct vdm_ring *ring, uint32_t count, enum lane lane)
{
	_Atomic uint64_t *counter = lane == LANE_SMALL     ? &ring->counters.local_small
				    : lane == LANE_OUTSIDE ? &ring->counters.local_outside
							   : &ring->counters.local_disconnected;
	int failed = 0;

	for (uint32_t i = 0; i < count; i++) {
		const struct pending *pending = ring_pending(ring, ring->dispatched);
		const struct vdm_sqe *sqe = &pending->sqe;
		bool unused;
		int result = check(ring, sqe, &unused);

		if (!result)
			result = check_again(ring, i, pending);
		if (failed)
			result = -ECANCELED;
		else if (result == 0)
			result = ring_run_entry(ring, sqe, counter);
		failed = result;
		ring_complete_entry(ring, result);
	}
	ring->outside |= lane == LANE_OUTSIDE;
}

/* An entry runs in this process during a submit, wait or peek, so whatever has to complete or begin
 * before it must have been reaped. */
static bool may_run_here(const struct vdm_ring *ring, bool ordered)
{
	return ring_order_settled(ring) && file_lanes_settled(ring) &&
	       (!ordered || (ring_in_flight(ring) == 0 && ring_files_in_flight(ring) == 0));
}

/* The daemon keeps the order of what it has. But it may take a contested operation for complete
 * before it is, which matters to a chain too. */
static bool may_publish(const struct vdm_ring *ring, uint32_t count, bool ordered, bool linked)
{
	return ring->entries - ring_in_flight(ring) >= count &&
	       (!(ordered || linked) || ring->contested == 0) && file_lanes_settled(ring) &&
	       (!ordered || ring_files_in_flight(ring) == 0);
}

/* Move a chain into one lane: the file lane if one of its entries concerns a file, the remote one
 * only if all of its entries can go there. Returns false if it has to wait. */
static __attribute__((noinline)) bool advance_chain(struct vdm_ring *ring, uint64_t *bytes)
{
	const struct vdm_sqe *sqe;
	struct cursor cursor = cursor_of(ring);
	enum lane lane = LANE_REMOTE;
	bool ordered = false, of_file, any_of_file = false;
	uint32_t length = 0;

	do { /* ends: the last entry of a submit has no link */
		struct vdm_descriptor unused;

		sqe = ring_entry(ring, ring->dispatched + length++);
		enum lane own = check(ring, sqe, &of_file) ? LANE_SMALL
							   : choose_lane(ring, sqe, true, &unused);

		if (!may_give(ring, length - 1))
			own = LANE_DISCONNECTED;
		if (own != LANE_REMOTE)
			lane = own;
		ordered |= entry_is_ordered(sqe);
		any_of_file |= of_file;
	} while (sqe->flags & VDM_SQE_LINK);

	if (any_of_file)
		return file_lane_advance(ring, length, ordered);
	if (lane != LANE_REMOTE) {
		if (!may_run_here(ring, ordered))
			return false;
		run_here(ring, length, lane);
		return true;
	}
	if (!may_publish(ring, length, ordered, true))
		return false;
	for (uint32_t i = 0; i < length; i++) {
		struct vdm_descriptor *slot = slot_at(ring, cursor);

		sqe = &cursor.pending->sqe;
		choose_lane(ring, sqe, true, slot);
		publish(ring, &cursor, sqe, slot);
		*bytes += entry_bytes(sqe);
	}
	cursor_store(ring, cursor);
	ring->ordered = ring->sq_position;
	return true;
}

/* Move the next entry into its lane, with its chain. Returns false if it has to wait. */
static
	__attribute__((noinline)) /* leave the registers to publish_plain() */
	bool
	advance_one(struct vdm_ring *ring, uint64_t *bytes)
{
	const struct vdm_sqe *sqe = ring_entry(ring, ring->dispatched);

	if (sqe->flags & VDM_SQE_LINK)
		return advance_chain(ring, bytes);

	const bool ordered = entry_is_ordered(sqe),
		   publishable = may_publish(ring, 1, ordered, false);
	struct cursor cursor = cursor_of(ring);
	struct vdm_descriptor unused, *slot = publishable ? slot_at(ring, cursor) : &unused;
	/* An entry that must not run in this process yet goes to the daemon if it can, however
	 * small it is. */
	bool of_file;
	enum lane lane = check(ring, sqe, &of_file)
				 ? LANE_SMALL
				 : choose_lane(ring, sqe, !ring_order_settled(ring), slot);

	if (!may_give(ring, 0))
		lane = LANE_DISCONNECTED;
	if (of_file)
		return file_lane_advance(ring, 1, ordered);
	if (lane != LANE_REMOTE) {
		if (!may_run_here(ring, ordered))
			return false;
		run_here(ring, 1, lane);
		return true;
	}
	if (!publishable)
		return false;
	publish(ring, &cursor, sqe, slot);
	*bytes += entry_bytes(sqe);
	cursor_store(ring, cursor);
	if (ordered)
		ring->ordered = ring->sq_position;
	return true;
}

/* Counts what has been published for the daemon and the filer. */
static uint32_t given_to_daemons(const struct vdm_ring *ring)
{
	const struct vdm_ring *filer = ring->lanes[FILE_LANE_FILER];

	return ring->sq_position + (filer ? filer->sq_position : 0);
}

/* Move the next entry, which has been dispatched before, into its lane, with its chain. Returns
 * false if it has to wait. */
static __attribute__((noinline)) bool advance_again(struct vdm_ring *ring, uint64_t *bytes)
{
	const uint32_t before = ring->dispatched, given = given_to_daemons(ring);

	if (!advance_one(ring, bytes))
		return false;

	const uint32_t moved = ring->dispatched - before;

	ring->again -= moved < ring->again ? moved : ring->again;
	ring_count(given_to_daemons(ring) != given ? &ring->counters.repeated
						   : &ring->counters.recovered_here,
		   moved);
	return true;
}

/*
 * The usual case, in few instructions: publish plain entries, of which the next one is the first,
 * until one does not go to the daemon, the ring has no more room, or the plain ones end. Returns
 * whether there was one.
 */
static inline bool publish_plain(struct vdm_ring *ring, const struct vdm_sqe *sqe, uint64_t *bytes)
{
	const uint32_t room = ring->entries - ring_in_flight(ring);
	const uint32_t waiting = ring->submitted - ring->dispatched;
	const uint32_t first = ring->dispatched, end = first + (waiting < room ? waiting : room);
	struct cursor cursor = cursor_of(ring);
	uint64_t sum = 0;

	if (!ring->connected || room == 0 || !file_lanes_settled(ring))
		return false;
	do {
		struct vdm_descriptor *slot = slot_at(ring, cursor);

		if (!(entry_facts(sqe) & OP_WRITES))
			describe_nothing(slot);
		else if (sqe->length < ring->threshold || !describe(ring, sqe, slot))
			break;
		else
			sum += sqe->length;
		publish(ring, &cursor, sqe, slot);
		sqe = &cursor.pending->sqe;
	} while (cursor.entry != end && entry_is_plain(sqe));
	cursor_store(ring, cursor);
	*bytes += sum;
	return cursor.entry != first;
}

/* Move entries into their lanes. It ends early if a file lane has to be opened first. */
static inline void advance(struct vdm_ring *ring)
{
	const uint32_t published = ring->sq_position;
	uint64_t bytes = 0;

	ring->lane_wanted = false;
	if (ring->client) {
		activity_enter(&ring->activity);
		region_view_refresh(&ring->view, &ring->client->regions, ring->connection);
	}
	do {
		const struct vdm_sqe *next = ring_entry(ring, ring->dispatched);

		if (ring->again > 0
			    ? !advance_again(ring, &bytes)
			    : !(entry_is_plain(next) && publish_plain(ring, next, &bytes)) &&
				      !advance_one(ring, &bytes))
			break;
	} while (ring->dispatched != ring->submitted);
	if (ring->client) {
		activity_set_in_flight(&ring->activity, ring_in_flight(ring) > 0);
		activity_leave(&ring->activity);
	}
	if (ring->sq_position == published)
		return;
	ring_count(&ring->counters.offloaded, ring->sq_position - published);
	ring_count(&ring->counters.offloaded_bytes, bytes);
	ring_doorbell(ring);
}

void ring_advance_waiting(struct vdm_ring *ring)
{
	if (ring->outside)
		ring_look_for_hangup(ring);
	if (!ring->connected && ring->client)
		ring_come_back(ring);
	for (;;) {
		advance(ring);
		if (!ring->lane_wanted)
			return;
		file_lane_open(ring);
	}
}

bool ring_run_waiting(struct vdm_ring *ring, uint64_t most_bytes)
{
	const struct vdm_sqe *sqe = ring_entry(ring, ring->dispatched);
	const uint64_t bytes = entry_bytes(sqe);
	struct vdm_descriptor unused;

	if (ring->dispatched == ring->submitted || ring->again > 0 ||
	    ring_in_flight(ring) < ring->entries || !ring_order_settled(ring) ||
	    !entry_is_plain(sqe) || bytes <= VDM_CLAIM_BYTES || bytes > most_bytes ||
	    choose_lane(ring, sqe, false, &unused) != LANE_REMOTE)
		return false;

	ring_count(&ring->counters.offloaded, 1);
	ring_count(&ring->counters.offloaded_bytes, bytes);
	ring_complete_entry(ring, ring_run_entry(ring, sqe, &ring->counters.taken_back));
	return true;
}

int vdm_ring_submit(struct vdm_ring *ring)
{
	if (fork_happened(ring->epoch))
		return fork_error();

	uint32_t count = ring->got - ring->submitted;

	if (count == 0)
		return 0;
	ring_entry(ring, ring->got - 1)->flags &= (uint16_t)~VDM_SQE_LINK; /* nothing follows it */
	ring->submitted = ring->got;
	ring_advance(ring);
	return (int)count;
}
