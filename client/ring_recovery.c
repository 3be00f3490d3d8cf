/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_recovery.h"

#include <errno.h>
#include <sys/epoll.h>

#include "cancellation.h"
#include "coarse_clock.h"
#include "error.h"
#include "ring_daemon.h"
#include "ring_flight.h"
#include "ring_report.h"

/* A daemon that runs answers within a millisecond: so long even a caller that waits for nothing is
 * kept waiting. */
#define SHORT_PATIENCE_MS 10

/* A daemon may end while the ring comes back to it. */
#define MOST_TRIES 3

static bool recovers(const struct vdm_ring *ring)
{
	return ring->client &&
	       !(ring->client->options.flags & (VDM_OPTION_NO_RECOVERY | VDM_OPTION_LOCAL_ONLY));
}

/* Put an entry, which a side has had, in front of those that wait, in its place among those that
 * were put back before. */
static void put_back(struct vdm_ring *ring, const struct vdm_ring *side, struct pending *pending)
{
	uint32_t at = --ring->dispatched;

	pending->newest = side->view.newest;
	if (pending->deaths < UINT8_MAX)
		pending->deaths++;
	for (uint32_t i = 0; i < ring->again; i++, at++) {
		struct pending *next = ring_pending(ring, at + 1);

		if ((int32_t)(next->number - pending->number) > 0)
			break;
		ring->slots[at & ring->mask] = next;
	}
	ring->slots[at & ring->mask] = pending;
	ring->again++;
}

/* The entry of the ring that a published entry of a side stands for. */
static struct pending *entry_of(struct vdm_ring *ring, const struct vdm_ring *side,
				struct pending *published)
{
	return side == ring ? published : &ring->pending[published->sqe.user_data];
}

static void put_all_back(struct vdm_ring *ring, struct vdm_ring *side)
{
	/* these are reported, which moves the end of what has been */
	for (uint32_t i = 0; i < ring_indexes(side); i++) {
		struct pending *published = &side->pending[i];

		if (published->state == PENDING_CANCELLED) {
			published->state = PENDING_NONE;
			ring_report(ring, entry_of(ring, side, published), 0, -ECANCELED);
		}
	}
	for (uint32_t i = 0; i < ring_indexes(side); i++) {
		struct pending *published = &side->pending[i];

		if (published->state == PENDING_TAKEN_BACK)
			ring_end_taken_back(side, published);
		else if (published->state != PENDING_NONE)
			put_back(ring, side, entry_of(ring, side, published));
		published->state = PENDING_NONE;
	}
	side->contested = 0;
	side->cq_position = side->ordered = side->sq_position; /* nothing is in flight */
	activity_set_in_flight(&side->activity, false);
}

void ring_lost(struct vdm_ring *ring, struct vdm_ring *side)
{
	ring_reap(side); /* what the daemon completed before it went is complete */
	side->connected = false;
	if (ring->poll_fd >= 0)
		epoll_ctl(ring->poll_fd, EPOLL_CTL_DEL, side->event_fd, NULL);
	if (!recovers(ring)) {
		ring_fail_all(side);
		return;
	}
	put_all_back(ring, side);
	debug_line("a ring of %u entries has lost its daemon: %u operations are repeated",
		   ring->entries, ring->again);
	ring->next_look_ms = 0;
}

/* A daemon that has come later does not serve the ring. */
static void refused(struct vdm_ring *ring, uint32_t connection)
{
	ring->refused_by = connection;
	ring_count(&ring->counters.refused, 1);
	debug_line("a ring of %u entries takes the local lane: %s", ring->entries,
		   vdm_last_error());
}

static unsigned ms_to(int64_t end)
{
	const int64_t now = coarse_ms();

	return now < end ? (unsigned)(end - now) : 0;
}

/* Of descriptors or memory, mostly this process's own. */
static bool is_shortage(int result)
{
	return result == -EMFILE || result == -ENOMEM;
}

/* Returns whether to try again. */
static bool try(struct vdm_ring *ring, int64_t patience_ends)
{
	struct connection *c = &ring->client->connection;
	int result = -ENOTCONN;

	/* another thread's conversation may last */
	if (!connection_lock_talk(c, ring->patience_ms > 0 ? ms_to(patience_ends) : 0))
		return false;
	connection_reopen(c, ms_to(patience_ends));

	const bool open = c->state == CONNECTION_OPEN;

	if (open && c->number != ring->refused_by)
		result = ring_daemon_renew(ring);
	if (result && result != -ENOTCONN && !is_shortage(result))
		refused(ring, c->number);

	/* this daemon has ended too: while the ring came back to it, or before it answered a
	 * greeting */
	const bool again = open ? result == -ENOTCONN && c->number != ring->refused_by
				: c->state == CONNECTION_NONE && c->error == -ENOTCONN;

	pthread_mutex_unlock(&c->talk);
	if (!result) {
		ring_count(&ring->counters.reconnects, 1);
		debug_line("a ring of %u entries is served again", ring->entries);
	}
	return again;
}

void ring_come_back(struct vdm_ring *ring)
{
	WITHOUT_CANCELLATION;
	const int64_t begin = coarse_ms();
	const int64_t patience_ends =
		begin + (ring->patience_ms > SHORT_PATIENCE_MS ? (int64_t)ring->patience_ms
							       : SHORT_PATIENCE_MS);

	if (!recovers(ring) || (ring->patience_ms == 0 && begin < ring->next_look_ms))
		return;
	for (unsigned tries = 0; tries < MOST_TRIES && try(ring, patience_ends); tries++)
		;
	ring_spend_patience(ring, begin);
	ring->next_look_ms = ring_next_look(begin, coarse_ms());
}
