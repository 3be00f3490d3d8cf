/* SPDX-License-Identifier: BSD-3-Clause */
#include "file_lane.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

#include "cancellation.h"
#include "client.h"
#include "coarse_clock.h"
#include "file_engine.h"
#include "filer.h"
#include "op/files.h"
#include "ring_daemon.h"
#include "ring_flight.h"
#include "ring_inprocess.h"
#include "ring_local.h"
#include "ring_report.h"
#include "ring_publish.h"
#include "ring_recovery.h"

/* How long to wait between two looks at a lane that a region's release waits for. */
#define AWAIT_MS 1

int file_lane_check(const struct vdm_ring *ring, const struct vdm_sqe *sqe, bool *of_file)
{
	const struct region_view *view = &ring->view;
	const unsigned facts = entry_facts(sqe);
	/* an optional range of no length is none */
	const bool has_destination =
		(facts & OP_DESTINATION) && !((facts & OP_RANGE_OPTIONAL) && sqe->length == 0);
	enum file_share to = FILE_SHARE_NONE, from = FILE_SHARE_NONE;
	bool writable = true, unused;

	if (has_destination)
		to = region_view_file_share(view, sqe->dest, sqe->length, &writable);
	if (facts & OP_SOURCE)
		from = region_view_file_share(view, sqe->src, sqe->length, &unused);
	if (to == FILE_SHARE_PART || from == FILE_SHARE_PART)
		return -EFAULT;
	/* the engine's CPU would store to memory that may only be read */
	if ((facts & OP_WRITES) && (!writable || region_view_forbids(view, sqe->dest, sqe->length)))
		return -EACCES;
	if ((sqe->flags & VDM_SQE_DURABLE) && to != FILE_SHARE_ALL)
		return -EOPNOTSUPP;
	*of_file = to == FILE_SHARE_ALL || from == FILE_SHARE_ALL;
	return 0;
}

/* NULL: it cannot be opened, and `*error` is a negative errno. */
static struct vdm_ring *open_here(const struct vdm_ring *ring, int *error)
{
	struct vdm_client *client = ring->client;
	struct file_engine *engine = client->file_engine;
	struct vdm_ring *lane;

	*error = ring_open_inprocess(engine->engine, engine->account, engine->memory, ring->entries,
				     ring->spin_us, &lane);
	if (*error)
		return NULL;
	pthread_mutex_lock(&client->connection.lock);
	lane->lane_number = engine->lanes_opened++;
	LIST_INSERT_HEAD(&engine->lanes, lane, lane);
	pthread_mutex_unlock(&client->connection.lock);
	return lane;
}

/* Connect to the daemon and to the filer, if they can be. Returns false if another thread's
 * conversation with one of them lasts. */
static bool renew(struct vdm_ring *ring)
{
	const int64_t begin = coarse_ms();
	bool renewed = connection_renew(&ring->client->connection, ring->patience_ms);

	ring_spend_patience(ring, begin);
	return renewed &&
	       connection_renew(&client_filer(ring->client)->connection, ring->patience_ms);
}

/* As open_here() does. A lane of a filer that does not serve it is not connected. */
static struct vdm_ring *open_filer(const struct vdm_ring *ring, int *error)
{
	struct vdm_client *filer = client_filer(ring->client);
	struct vdm_options options = filer->options;
	struct vdm_ring *lane;

	options.entries = ring->entries;
	options.spin_us = ring->spin_us;
	options.priority = ring->priority;
	*error = ring_daemon_open(filer, &options, &lane);
	return *error ? NULL : lane;
}

/* 0, or why the entry is refused. */
static int check(const struct vdm_ring *ring, const struct vdm_sqe *sqe)
{
	bool unused;
	const int result = entry_check(sqe);

	return result ? result : file_lane_check(ring, sqe, &unused);
}

/* Whether it completes when a file has been synced. */
static bool syncs(const struct vdm_sqe *sqe)
{
	const unsigned facts = entry_facts(sqe);

	return (sqe->flags & VDM_SQE_DURABLE) ||
	       ((facts & OP_DESTINATION) && !(facts & OP_WRITES) && sqe->length > 0);
}

/*
 * An operation has failed. If that was its sync, for all bytes had been written, no later one of
 * the file may succeed, whatever becomes of the filer that knows it.
 */
static void note_failure(const struct vdm_ring *ring, const struct vdm_sqe *sqe,
			 const struct vdm_cqe *cqe)
{
	struct file_engine *engine = ring->client->file_engine;
	const uint64_t written = entry_facts(sqe) & OP_WRITES ? sqe->length : 0;

	if (cqe->result == -ECANCELED || cqe->value != written || !syncs(sqe) || check(ring, sqe))
		return;
	files_fail_syncs(engine->files, sqe->dest, cqe->result);
	/* relaxed: a thread that has seen the failure sees this; partner: filer_may_sync() */
	atomic_store_explicit(&engine->sync_failed, true, memory_order_relaxed);
}

static void reap_lane(struct vdm_ring *ring, enum file_lane_kind kind)
{
	struct vdm_ring *lane = ring->lanes[kind];
	uint64_t bytes = 0, count = 0;

	ring_reap(lane);
	for (; lane->cqe_head != lane->cqe_tail; lane->cqe_head++, count++) {
		const struct vdm_cqe *cqe = &lane->cqes[lane->cqe_head & lane->mask];

		bytes += cqe->value;
		if (cqe->result)
			note_failure(ring, &ring->pending[cqe->user_data].sqe, cqe);
		ring_report(ring, &ring->pending[cqe->user_data], cqe->value, cqe->result);
	}
	if (count == 0)
		return;
	ring_count(&ring->counters.file_operations, count);
	ring_count(&ring->counters.file_bytes, bytes);
	if (kind == FILE_LANE_FILER)
		ring_count(&ring->counters.file_offloaded, count);
}

static void close_here(struct vdm_ring *ring, struct vdm_ring *lane)
{
	/* file_lanes_await() finds the lane until everything in it is complete */
	engine_queue_remove(lane->queue, NULL);
	reap_lane(ring, FILE_LANE_HERE);
	pthread_mutex_lock(&ring->client->connection.lock);
	LIST_REMOVE(lane, lane);
	pthread_mutex_unlock(&ring->client->connection.lock);
	ring_free(lane);
}

static void close_lane(struct vdm_ring *ring, enum file_lane_kind kind)
{
	struct vdm_ring *lane = ring->lanes[kind];

	if (lane && kind == FILE_LANE_HERE) {
		close_here(ring, lane);
	} else if (lane) {
		reap_lane(ring, kind); /* what has been collected since the lane was lost */
		ring_daemon_close(lane);
	}
	ring->lanes[kind] = NULL;
}

void file_lanes_close(struct vdm_ring *ring)
{
	for (unsigned i = 0; i < FILE_LANES; i++)
		close_lane(ring, (enum file_lane_kind)i);
	ring->has_lanes = false;
}

/* Have vdm_ring_eventfd()'s descriptor tell of the lane, if there is one. Returns 0 or a negative
 * errno. */
static int watch(const struct vdm_ring *ring, struct vdm_ring *lane)
{
	struct epoll_event event = {.events = EPOLLIN};

	if (ring->poll_fd < 0 || !lane->connected)
		return 0;
	if (epoll_ctl(ring->poll_fd, EPOLL_CTL_ADD, lane->event_fd, &event) < 0)
		return -errno;
	if (ring->armed) {
		lane->armed_at = lane->cq_position;
		ring_arm(lane, lane->cq_position + 1);
	}
	return 0;
}

void file_lane_open(struct vdm_ring *ring)
{
	WITHOUT_CANCELLATION;
	const enum file_lane_kind kind = ring->wanted;
	const int64_t begin = coarse_ms();

	struct vdm_ring *lane = NULL;

	if (kind == FILE_LANE_HERE) {
		lane = open_here(ring, &ring->lane_error);
	} else if (renew(ring)) {
		close_lane(ring, kind); /* it has gone */
		lane = open_filer(ring, &ring->lane_error);
	}
	ring->lane_wanted = false;
	if (lane) {
		ring->lanes[kind] = lane;
		ring->has_lanes = true;
		ring->lane_error = watch(ring, lane);
		if (ring->lane_error)
			close_lane(ring, kind);
	}
	if (kind == FILE_LANE_FILER) {
		ring->lane_error = 0; /* the other lane serves */
		ring->next_filer_ms = ring_next_look(begin, coarse_ms());
	}
}

/* Describe a valid entry by addresses, which are offsets in flat memory. */
static void describe_flat(const struct vdm_sqe *sqe, struct vdm_descriptor *d)
{
	const unsigned facts = entry_facts(sqe);

	describe_nothing(d);
	if (facts & OP_DESTINATION) {
		d->destination_offset = (uintptr_t)sqe->dest;
		d->length = sqe->length;
	}
	if (facts & OP_SOURCE)
		d->source_offset = (uintptr_t)sqe->src;
	if (facts & OP_PATTERN)
		d->pattern = sqe->value;
}

/* Whether source and destination, just described, have bytes of a file in common: through two
 * regions, that is no overlap of addresses. */
static bool overlaps_in_file(const struct vdm_ring *lane, const struct vdm_sqe *sqe,
			     const struct vdm_descriptor *d)
{
	const struct region_extent *to = lane->view.last[REGION_DESTINATION],
				   *from = lane->view.last[REGION_SOURCE];

	return (entry_facts(sqe) & OP_SOURCE) && to->device == from->device &&
	       to->file == from->file &&
	       overlap(to->offset + d->destination_offset, from->offset + d->source_offset,
		       sqe->length);
}

/* Describe a valid entry by the filer's regions. Returns whether that is possible, and whether the
 * entry may be repeated by another filer. */
static bool describe_named(struct vdm_ring *lane, const struct vdm_sqe *sqe,
			   struct vdm_descriptor *d)
{
	if (entry_facts(sqe) & OP_WRITES)
		return describe(lane, sqe, d) && !overlaps_in_file(lane, sqe, d);
	describe_nothing(d);
	if (!(entry_facts(sqe) & OP_DESTINATION) || sqe->length == 0)
		return true;

	const struct region_extent *range =
		region_view_find(&lane->view, REGION_DESTINATION, sqe->dest, sqe->length,
				 &d->destination_offset);

	if (!range)
		return false;
	d->destination_region = range->id;
	d->length = sqe->length;
	return true;
}

/*
 * Whether the filer may sync. One that died may have been told of a lost page, and have told
 * nobody: then the kernel tells the client's own open file once more, and no other filer.
 */
static bool filer_may_sync(const struct vdm_ring *ring)
{
	/* relaxed; partner: note_failure() */
	return ring->lanes[FILE_LANE_FILER]->connection == 1 &&
	       !atomic_load_explicit(&ring->client->file_engine->sync_failed, memory_order_relaxed);
}

/* Whether the filer's lane can have the entry. */
static bool suits_filer(struct vdm_ring *ring, const struct pending *pending)
{
	struct vdm_ring *filer = ring->lanes[FILE_LANE_FILER];
	struct vdm_descriptor unused;

	return ring_may_repeat(pending) && (!syncs(&pending->sqe) || filer_may_sync(ring)) &&
	       (check(ring, &pending->sqe) || describe_named(filer, &pending->sqe, &unused));
}

/* The lane of the next `count` entries: the filer's, if it knows the memory of all of them. */
static enum file_lane_kind choose(struct vdm_ring *ring, uint32_t count)
{
	const struct vdm_ring *filer = ring->lanes[FILE_LANE_FILER];

	if (!filer || !filer->connected)
		return client_filer(ring->client) && coarse_ms() >= ring->next_filer_ms
			       ? FILE_LANE_FILER
			       : FILE_LANE_HERE;
	for (uint32_t i = 0; i < count; i++)
		if (!suits_filer(ring, ring_pending(ring, ring->dispatched + i))) {
			ring->outside = true;
			return FILE_LANE_HERE;
		}
	return FILE_LANE_FILER;
}

/* Publish an entry as one that the engine refuses. */
static void publish_refused(struct vdm_ring *lane, struct cursor *cursor, const struct vdm_sqe *sqe,
			    int refusal)
{
	const struct vdm_sqe bad = {.opcode = UINT8_MAX,
				    .flags = sqe->flags & (VDM_SQE_FENCE | VDM_SQE_LINK)};
	struct vdm_descriptor *slot = slot_at(lane, *cursor);
	struct pending *pending = cursor->pending;

	describe_nothing(slot);
	publish(lane, cursor, &bad, slot);
	pending->state = PENDING_REFUSED;
	pending->refusal = (int16_t)refusal;
}

/* Publish the next `count` entries, which are one or a chain. The lane's own entries have no more
 * than the index of an entry of the ring. */
static void publish_in(struct vdm_ring *ring, struct vdm_ring *lane, uint32_t count)
{
	struct cursor cursor = cursor_of(lane);

	for (uint32_t i = 0; i < count; i++) {
		struct pending *pending = ring_pending(ring, ring->dispatched);
		const struct vdm_sqe *sqe = &pending->sqe;
		struct vdm_descriptor *slot = slot_at(lane, cursor);
		int refusal = check(ring, sqe);

		if (!refusal && i < ring->again)
			refusal = ring_check_memory(ring, sqe, pending->newest);
		ring->dispatched++;
		cursor.pending->number = cursor.entry;
		cursor.pending->sqe.flags = sqe->flags;
		cursor.pending->sqe.user_data = pending->index;
		if (refusal) {
			publish_refused(lane, &cursor, sqe, refusal);
			continue;
		}
		if (lane->client)
			describe_named(lane, sqe, slot);
		else
			describe_flat(sqe, slot);
		publish(lane, &cursor, sqe, slot);
	}
	cursor_store(lane, cursor);
	lane->submitted = lane->dispatched;
	/* relaxed: activity_leave() orders it; partner: file_lanes_await() */
	atomic_store_explicit(&lane->published, lane->sq_position, memory_order_relaxed);
	ring_doorbell(lane);
}

/* Whether what has been given to the ring and its other file lanes lets the next entries begin in
 * this one. */
static bool others_allow(const struct vdm_ring *ring, enum file_lane_kind kind, bool ordered)
{
	if (!ring_order_settled(ring) || (ordered && ring_in_flight(ring) > 0))
		return false;
	for (unsigned i = 0; i < FILE_LANES; i++) {
		const struct vdm_ring *other = i == kind ? NULL : ring->lanes[i];

		if (other && (!ring_order_settled(other) || (ordered && ring_in_flight(other) > 0)))
			return false;
	}
	return true;
}

/* Returns whether the next entries are done with: published, or failed for want of a lane. */
static bool advance(struct vdm_ring *ring, uint32_t count, bool ordered)
{
	const enum file_lane_kind kind = choose(ring, count);
	struct vdm_ring *lane = ring->lanes[kind];

	if (!others_allow(ring, kind, ordered))
		return false;
	if (!ring->lane_error && (!lane || !lane->connected)) {
		ring->lane_wanted = true;
		ring->wanted = kind;
		return false;
	}
	if (lane) {
		publish_in(ring, lane, count);
		if (ordered)
			lane->ordered = lane->sq_position;
	} else {
		for (uint32_t i = 0; i < count; i++)
			ring_complete_entry(ring, i == 0 ? ring->lane_error : -ECANCELED);
		ring->lane_error = 0;
	}
	return true;
}

bool file_lane_advance(struct vdm_ring *ring, uint32_t count, bool ordered)
{
	struct vdm_ring *filer = ring->lanes[FILE_LANE_FILER];
	bool done;

	if (!filer)
		return advance(ring, count, ordered);
	activity_enter(&filer->activity);
	region_view_refresh(&filer->view, &filer->client->regions, filer->connection);
	done = advance(ring, count, ordered);
	activity_set_in_flight(&filer->activity, ring_in_flight(filer) > 0);
	activity_leave(&filer->activity);
	return done;
}

void file_lanes_reap(struct vdm_ring *ring)
{
	for (unsigned i = 0; i < FILE_LANES; i++)
		if (ring->lanes[i])
			reap_lane(ring, (enum file_lane_kind)i);
}

/* The newest lane that is older than the one with that number. The caller holds the lock. */
static struct vdm_ring *lane_before(const struct file_engine *engine, uint64_t number)
{
	struct vdm_ring *lane;

	LIST_FOREACH(lane, &engine->lanes, lane)
		if (lane->lane_number < number)
			return lane;
	return NULL;
}

/* Whether the engine has completed everything before that position. */
static bool has_completed(const struct vdm_ring *lane, uint32_t position)
{
	const struct vdm_completion *last = &lane->completions[(position - 1) & lane->mask];

	/* acquire; partner: consumer_complete(), release. The slot may be in a later lap. */
	return (int32_t)(atomic_load_explicit(&last->sequence, memory_order_acquire) - position) >=
	       0;
}

void file_lanes_await(struct vdm_client *client)
{
	struct vdm_ring *lane = NULL;
	uint64_t number = UINT64_MAX;

	pthread_mutex_lock(&client->connection.lock);

	const struct file_engine *engine = client->file_engine;

	while (engine && (lane = lane_before(engine, number))) {
		/* relaxed: ordered by activities_await_inactive(); partner: publish_in() */
		const uint32_t published =
			atomic_load_explicit(&lane->published, memory_order_relaxed);

		number = lane->lane_number;
		/* a lane that has been closed meanwhile has completed everything */
		while (lane && lane->lane_number == number && !has_completed(lane, published)) {
			pthread_mutex_unlock(&client->connection.lock);
			poll(NULL, 0, AWAIT_MS);
			pthread_mutex_lock(&client->connection.lock);
			lane = lane_before(engine, number + 1);
		}
	}
	pthread_mutex_unlock(&client->connection.lock);
}
