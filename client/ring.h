/* SPDX-License-Identifier: BSD-3-Clause */
/* A ring: the producer's side of proto/ring.h. */
#ifndef VDM_CLIENT_RING_H
#define VDM_CLIENT_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "activity.h"
#include "client.h"
#include "counters.h"
#include "libvdm/ring.h"
#include "proto/ring.h"
#include "region_view.h"

enum pending_state {
	PENDING_NONE,
	PENDING_ACTIVE,
	PENDING_TAKEN_BACK, /* and reported: its completion tells nothing new */
	PENDING_CONTESTED   /* taken back too late, perhaps: only its completion tells who carries it out */
};

/* An operation that has been published: what its completion, or the daemon's death, is to report. */
struct pending {
	uint64_t user_data;
	uint32_t number;     /* of the entry; vdm_cqe.operation */
	uint32_t position;   /* in the ring */
	uint32_t next;       /* in the list of free ones */
	enum pending_state state;
};

struct vdm_ring {
	struct vdm_client *client;    /* NULL for a ring within this process */
	uint32_t epoch;
	uint32_t entries, mask;       /* a power of two, and one less */
	uint32_t spin_us;
	size_t threshold;
	uint32_t connection;          /* of the client, that the ring belongs to */
	bool connected;               /* there is somebody at the other end */
	bool asymmetric;              /* the barriers of the other end reach this process */
	struct region_view view;
	struct activity activity;

	/* Shared memory; NULL if never connected. */
	uint32_t id;
	void *submission, *completion;
	struct vdm_descriptor *descriptors;
	const struct vdm_completion *completions;
	struct vdm_client_line *client_line;
	const struct vdm_daemon_line *daemon_line;
	int doorbell_fd;
	int event_fd;
	uint32_t sq_position;         /* of the next descriptor */
	uint32_t cq_position;         /* of the next completion */
	uint32_t rung;                /* value of doorbell_wanted that was answered last */
	uint32_t arms;                /* value of client_line->arm */
	struct pending *pending;
	uint32_t free_pending;        /* first of the free ones */
	uint32_t taken_back;          /* of them, done here and reported */
	uint32_t taken_from, taken_to;/* positions, of those and perhaps of some that came too late */
	uint32_t contested;           /* of those in flight, how many are */
	uint32_t ordered;             /* position after the last published fence, flush or link; see ring_order_settled() */
	unsigned eager_waits;         /* of the next waits: they take back at once what the daemon has not begun */
	int64_t eager_until;          /* ns, CLOCK_MONOTONIC: all waits do, as the daemon was starved of CPU; 0: no */
	bool takes_back;              /* the daemon claims what it begins */

	/* Entries that the caller has got: `taken` <= `submitted` <= `got`, free-running. What they count is
	 * vdm_cqe.operation. */
	struct vdm_sqe *sqes;
	uint32_t got, submitted, taken;

	/* Completions that the caller has not seen: free-running too. */
	struct vdm_cqe *cqes;
	uint32_t cqe_head, cqe_tail;
	uint32_t got_limit;           /* of `got`: entries that are not got, in flight or unseen may be got */

	int poll_fd;                  /* vdm_ring_eventfd(); -1 until asked for */
	int self_fd;                  /* eventfd in it, for completions of the local lane */
	bool armed;                   /* a signal is to come for the completion at armed_at */
	uint32_t armed_at;
	bool self_signalled;
	uint32_t death_looks;         /* peeks that found nothing, since the last look for a hang-up */
	int64_t death_looked_ms;
	struct ring_counters counters;

	/* Of a ring within this process. */
	struct engine_queue *queue;
	int signal_fd;
};

/* Store pointers to the `count` oldest completions that the caller has not seen. */
static inline void ring_show(struct vdm_ring *ring, struct vdm_cqe **cqes, unsigned count)
{
	uint32_t position = ring->cqe_head; /* a local copy: the compiler cannot know that `cqes` is not in the ring */

	for (unsigned i = 0; i < count; i++)
		cqes[i] = &ring->cqes[position++ & ring->mask];
}

/* A ring without shared memory. `client` is NULL for a ring within this process. NULL: no memory. */
struct vdm_ring *ring_new(struct vdm_client *client, uint32_t entries, uint32_t first_sequence);

/* Let it use its shared memory from now on. */
void ring_attach(struct vdm_ring *ring, void *submission, void *completion);

void ring_free(struct vdm_ring *ring);

/* Operations that have been published and not reaped. */
static inline uint32_t ring_in_flight(const struct vdm_ring *ring)
{
	return ring->sq_position - ring->cq_position;
}

static inline struct vdm_sqe *ring_entry(struct vdm_ring *ring, uint32_t position)
{
	return &ring->sqes[position & ring->mask];
}

static inline const struct vdm_descriptor *ring_descriptor(const struct vdm_ring *ring, uint32_t position)
{
	return &ring->descriptors[position & ring->mask];
}

/*
 * Whether every operation that is ordered with others (by a fence, a flush or a link) and has been published has begun.
 * Only then may what follows it run in this process, or be taken back into it. An ordered operation begins after all
 * earlier ones have completed, and later ones begin after it; so when as many completions have been reaped as there are
 * operations up to and including it, then all earlier ones are among them, or it could not have begun.
 */
static inline bool ring_order_settled(const struct vdm_ring *ring)
{
	return (int32_t)(ring->cq_position - ring->ordered) >= 0;
}

/* Entries that are got, in flight or unseen: at most `entries`. */
static inline uint32_t ring_used(const struct vdm_ring *ring)
{
	return ring->got + ring->entries - ring->got_limit;
}

/* Completions that the caller has not seen. */
static inline uint32_t ring_unseen(const struct vdm_ring *ring)
{
	return ring->cqe_tail - ring->cqe_head;
}

#endif
