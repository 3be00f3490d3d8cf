/* SPDX-License-Identifier: BSD-3-Clause */
#include "file_lane.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

#include "cancellation.h"
#include "client.h"
#include "file_engine.h"
#include "ring_flight.h"
#include "ring_inprocess.h"
#include "ring_publish.h"

/* How long to wait between two looks at a lane that a region's release waits for. */
#define LOOK_MS 1

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
static struct vdm_ring *open_lane(const struct vdm_ring *ring, int *error)
{
	WITHOUT_CANCELLATION;
	struct vdm_client *client = ring->client;
	struct file_engine *engine = client->file_engine;
	struct vdm_ring *lane;
	struct epoll_event event = {.events = EPOLLIN};

	*error = ring_open_inprocess(engine->engine, engine->account, engine->memory, ring->entries,
				     ring->spin_us, &lane);
	if (*error)
		return NULL;
	if (ring->poll_fd >= 0 &&
	    epoll_ctl(ring->poll_fd, EPOLL_CTL_ADD, lane->event_fd, &event) < 0) {
		*error = -errno;
		engine_queue_remove(lane->queue, NULL);
		ring_free(lane);
		return NULL;
	}
	pthread_mutex_lock(&client->connection.lock);
	lane->lane_number = engine->lanes_opened++;
	LIST_INSERT_HEAD(&engine->lanes, lane, lane);
	pthread_mutex_unlock(&client->connection.lock);
	if (ring->armed) {
		lane->armed_at = lane->cq_position;
		ring_arm(lane, lane->cq_position + 1);
	}
	return lane;
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

static void publish_refused(struct vdm_ring *lane, struct cursor *cursor, const struct vdm_sqe *sqe,
			    int refusal)
{
	const struct vdm_sqe bad = {.opcode = UINT8_MAX,
				    .flags = sqe->flags & (VDM_SQE_FENCE | VDM_SQE_LINK),
				    .user_data = sqe->user_data};
	struct vdm_descriptor *slot = slot_at(lane, *cursor);
	struct pending *pending = &lane->pending[cursor->pending];

	describe_nothing(slot);
	publish(lane, cursor, &bad, slot);
	pending->state = PENDING_REFUSED;
	pending->refusal = refusal;
}

int file_lane_publish(struct vdm_ring *ring, uint32_t count)
{
	struct vdm_ring *lane = ring->files;
	bool ordered = false;

	if (!lane) {
		int error;

		lane = open_lane(ring, &error);
		if (!lane)
			return error;
		ring->files = lane;
	}

	struct cursor cursor = cursor_of(lane);

	cursor.entry = ring->dispatched;
	for (uint32_t i = 0; i < count; i++) {
		const struct vdm_sqe *sqe = ring_entry(ring, cursor.entry);
		struct vdm_descriptor *slot = slot_at(lane, cursor);
		bool unused;
		int refusal = entry_check(sqe);

		if (!refusal)
			refusal = file_lane_check(ring, sqe, &unused);
		ordered |= entry_is_ordered(sqe);
		if (refusal) {
			publish_refused(lane, &cursor, sqe, refusal);
			continue;
		}
		describe_flat(sqe, slot);
		publish(lane, &cursor, sqe, slot);
	}
	cursor_store(lane, cursor);
	lane->submitted = lane->dispatched; /* no entries of its own */
	ring->dispatched = cursor.entry;
	if (ordered)
		lane->ordered = lane->sq_position;
	/* relaxed: activity_leave() orders it; partner: file_lanes_await() */
	atomic_store_explicit(&lane->published, lane->sq_position, memory_order_relaxed);
	ring_doorbell(lane);
	return 0;
}

void file_lane_reap(struct vdm_ring *ring)
{
	struct vdm_ring *lane = ring->files;
	uint64_t bytes = 0, failed = 0, count = 0;

	ring_reap(lane);
	for (; lane->cqe_head != lane->cqe_tail; lane->cqe_head++, count++) {
		const struct vdm_cqe *cqe = &lane->cqes[lane->cqe_head & lane->mask];

		bytes += cqe->value;
		failed += cqe->result != 0;
		ring->cqes[ring->cqe_tail++ & ring->mask] = *cqe;
	}
	if (count == 0)
		return;
	ring_count(&ring->counters.file_operations, count);
	ring_count(&ring->counters.file_bytes, bytes);
	ring_count(&ring->counters.failed, failed);
}

void file_lane_close(struct vdm_ring *ring)
{
	struct vdm_ring *lane = ring->files;
	struct vdm_client *client = ring->client;

	if (!lane)
		return;
	engine_queue_remove(lane->queue, NULL);
	file_lane_reap(ring);
	pthread_mutex_lock(&client->connection.lock);
	LIST_REMOVE(lane, lane);
	pthread_mutex_unlock(&client->connection.lock);
	ring->files = NULL;
	ring_free(lane);
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
		/* relaxed: ordered by activities_await_inactive(); partner: file_lane_publish() */
		const uint32_t published =
			atomic_load_explicit(&lane->published, memory_order_relaxed);

		number = lane->lane_number;
		/* a lane that has been closed meanwhile has completed everything */
		while (lane && lane->lane_number == number && !has_completed(lane, published)) {
			pthread_mutex_unlock(&client->connection.lock);
			poll(NULL, 0, LOOK_MS);
			pthread_mutex_lock(&client->connection.lock);
			lane = lane_before(engine, number + 1);
		}
	}
	pthread_mutex_unlock(&client->connection.lock);
}
