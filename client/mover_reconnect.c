/* SPDX-License-Identifier: BSD-3-Clause */
#include "mover_reconnect.h"

#include <poll.h>
#include <sys/eventfd.h>

#include "coarse_clock.h"
#include "ring.h"
#include "ring_flight.h"
#include "slot_state.h"

/* How often to look at the connection, or to try a new one. An attempt takes 20 us if there is no
 * daemon. */
#define LOOK_MS 20

/* A failed attempt is long if the daemon does not answer. The pause after it is this many times as
 * long. */
#define ATTEMPT_SHARE 20

static int64_t now_ms(void)
{
	return coarse_ns() / 1000000;
}

/* The ring itself does not look for a hang-up while nothing is in flight. */
static void notice_hangup(struct vdm_ring *ring)
{
	struct pollfd event = {.fd = ring->event_fd, .events = POLLRDHUP};

	if (ring->connected && ring_in_flight(ring) == 0 && poll(&event, 1, 0) > 0)
		ring_lost(ring);
}

/* The caller does not hold the mover's lock. NULL: there is no daemon yet. */
static struct vdm_ring *open_fresh(const struct vdm_ring *lost)
{
	const struct vdm_options options = {.size = sizeof options, .entries = lost->entries};
	struct vdm_ring *fresh;

	if (vdm_ring_open(lost->client, &options, &fresh) < 0)
		return NULL;
	if (fresh->connected)
		return fresh;
	vdm_ring_close(fresh);
	return NULL;
}

/* Returns the ring that is to be closed: the lost one if it has been replaced, else the fresh
 * one. */
static struct vdm_ring *replace(struct mover *mover, struct vdm_ring **place,
				struct vdm_ring *fresh)
{
	struct vdm_ring *lost = *place;

	mover_collect(mover);
	if (ring_used(lost) > 0 || (mover->waker.started && vdm_ring_eventfd(fresh) < 0))
		return fresh;
	*place = fresh;
	if (mover->waker.started)
		eventfd_write(mover->waker.kick_fd, 1); /* it sleeps on the lost ring */
	return lost;
}

void mover_reconnect(struct mover *mover)
{
	struct vdm_ring **place = &mover->ring[mover->rings - 1], *lost = *place;

	if (!lost->client || !lost->connection || mover->reconnecting)
		return;

	int64_t begin = now_ms();

	if (begin < mover->next_look_ms)
		return;
	mover->next_look_ms = begin + LOOK_MS;
	notice_hangup(lost);
	if (lost->connected || begin < mover->next_attempt_ms)
		return;
	mover->reconnecting = true;
	pthread_mutex_unlock(&mover->lock);

	struct vdm_ring *fresh = open_fresh(lost);

	pthread_mutex_lock(&mover->lock);
	if (fresh) {
		struct vdm_ring *rest = replace(mover, place, fresh);

		pthread_mutex_unlock(&mover->lock);
		vdm_ring_close(rest); /* may wait for the daemon's answer */
		pthread_mutex_lock(&mover->lock);
	}

	int64_t end = now_ms();

	mover->next_attempt_ms = *place != lost ? 0 : end + (end - begin) * ATTEMPT_SHARE;
	mover->reconnecting = false;
}
