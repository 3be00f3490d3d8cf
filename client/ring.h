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
	PENDING_TAKEN_BACK, /* carried out here and reported: its completion is dropped */
	PENDING_CONTESTED,  /* perhaps taken back too late: its completion says which side acts */
	PENDING_REFUSED,    /* bad, and yet published, since it is linked to others */
	PENDING_CANCELLED   /* published, and linked to one that has failed */
};

/* An entry, until its completion is reported. */
struct pending {
	struct vdm_sqe sqe; /* what the caller has written */
	uint32_t index;     /* of this, in vdm_ring::pending */
	uint32_t number;    /* vdm_cqe.operation */
	union {
		uint32_t position; /* of its descriptor, once it is published */
		/* Once it is put back: number of the newest region that it can name. One that is
		 * newer was not there when the entry was published. */
		uint32_t newest;
	};
	int16_t refusal; /* PENDING_REFUSED: its result, unless it is cancelled */
	uint8_t state;   /* enum pending_state */
	uint8_t deaths;  /* daemons that have gone while they had it */
};

/* Which of them, see file_lane.h. */
enum file_lane_kind { FILE_LANE_HERE, FILE_LANE_FILER, FILE_LANES };

struct vdm_ring {
	struct vdm_client *client; /* NULL for a ring within this process */
	uint32_t epoch;            /* of the process, see fork.h */
	uint32_t entries, mask;    /* a power of two, and one less */
	uint32_t spin_us;
	int32_t priority;
	size_t threshold, threshold_given;
	uint32_t connection; /* number of the client's connection at its opening */
	bool connected;      /* the other side serves the ring */
	bool asymmetric;     /* the barriers of the other side reach this process */
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
	bool doorbell_is_socket; /* or else an eventfd */
	int event_fd;
	uint32_t sq_position;     /* of the next descriptor */
	uint32_t cq_position;     /* of the next completion */
	uint32_t rung;            /* value of doorbell_wanted that was answered last */
	uint32_t arms;            /* value of client_line->arm */
	uint32_t taken_back;      /* operations in flight that are PENDING_TAKEN_BACK */
	uint32_t contested;       /* operations in flight that are PENDING_CONTESTED */
	uint32_t taken_back_from; /* positions that the daemon has been told of, */
	uint32_t taken_back_to;   /* up to, not including, this one */
	uint32_t ordered;         /* position after the last published ordered operation */
	/* An eager wait takes back at once what the daemon has not begun, instead of giving it time
	 * to begin. */
	unsigned eager_waits; /* how many of the next waits are eager */
	int64_t eager_until;  /* ns, CLOCK_MONOTONIC: until then all are; 0: not so */
	bool takes_back;      /* the daemon claims what it begins */

	/* Recovery, see ring_recovery.h. */
	bool never_repeats;   /* so it need not mind whether an operation could be repeated */
	uint32_t again;       /* entries at `dispatched` that have been dispatched before */
	unsigned patience_ms; /* how long a new daemon's answer may be waited for now */
	int64_t next_look_ms; /* CLOCK_MONOTONIC: when to look for a new daemon */
	uint32_t refused_by;  /* number of the connection whose daemon has refused the ring */
	/* An operation has run in this process lately because the other side did not know its
	 * memory. That side may have gone. */
	bool outside;

	/*
	 * Entries that the caller has got: `dispatched` <= `submitted` <= `got`, free-running. What
	 * they count is vdm_cqe.operation.
	 *
	 * An entry keeps its place in `pending` until its completion is reported, while later ones
	 * come and go. The n-th entry to be got is slots[n & mask]. The place that the n-th
	 * completion frees is that of entry n + entries, which can be got when that completion has
	 * been seen. So entries that have been dispatched and not been reported can be put back, in
	 * front of `dispatched`.
	 *
	 * An operation that was taken back is reported before its place is free. There are
	 * `entries` more places, in `spare`, of which one stands in for it.
	 */
	struct pending *pending;
	struct pending **slots, **spare;
	uint32_t spare_count;
	uint32_t got, submitted, dispatched;

	/* Completions that the caller has not seen: free-running too, from where `got` began. */
	struct vdm_cqe *cqes;
	uint32_t cqe_head, cqe_tail;
	uint32_t got_limit; /* of `got`: `entries` beyond the completions seen */

	int poll_fd; /* vdm_ring_eventfd(); -1 until asked for */
	int self_fd; /* eventfd in it, for completions of the local lane */
	bool armed;  /* a signal has been asked for, for the completion at armed_at */
	uint32_t armed_at;
	bool self_signalled;   /* self_fd is readable */
	uint32_t hangup_looks; /* calls of ring_look_for_hangup() */
	int64_t hangup_looked_ms;
	struct ring_counters counters;

	/* The file lanes: rings that complete what concerns files. NULL until there was such an
	 * operation. See file_lane.h. */
	struct vdm_ring *lanes[FILE_LANES];
	bool has_lanes;
	bool lane_wanted;           /* the next entry waits for a lane to be opened, */
	enum file_lane_kind wanted; /* this one; */
	int64_t next_filer_ms;      /* CLOCK_MONOTONIC: when to look for a filer */
	int lane_error;             /* or why it cannot be: a negative errno */

	/* Of a ring within this process. */
	struct engine_queue *queue;
	int signal_fd;

	/* Of a file lane within this process. */
	LIST_ENTRY(vdm_ring) lane; /* file_engine::lanes */
	uint64_t lane_number;      /* no other lane of the client has had it */
	/* Value of sq_position, for other threads. relaxed; partner: file_lanes_await() */
	_Atomic uint32_t published;
};

/* Store pointers to the `count` oldest completions that the caller has not seen. */
static inline void ring_list_unseen(struct vdm_ring *ring, struct vdm_cqe **cqes, unsigned count)
{
	/* a local copy: for all the compiler knows, `cqes` may lie in the ring */
	uint32_t position = ring->cqe_head;

	for (unsigned i = 0; i < count; i++)
		cqes[i] = &ring->cqes[position++ & ring->mask];
}

/* A ring without shared memory. `client` is NULL for a ring within this process. NULL: no
 * memory. */
struct vdm_ring *ring_new(struct vdm_client *client, uint32_t entries, uint32_t first_sequence);

/* Have the ring use this memory from now on. */
void ring_attach(struct vdm_ring *ring, void *submission, void *completion);

void ring_free(struct vdm_ring *ring);

/* Operations that have been published and not reaped. */
static inline uint32_t ring_in_flight(const struct vdm_ring *ring)
{
	return ring->sq_position - ring->cq_position;
}

/* An entry that has been got and not been dispatched. */
static inline struct pending *ring_pending(const struct vdm_ring *ring, uint32_t number)
{
	return ring->slots[number & ring->mask];
}

static inline struct vdm_sqe *ring_entry(const struct vdm_ring *ring, uint32_t number)
{
	return &ring_pending(ring, number)->sqe;
}

/* How many places for entries there are. The daemon may return any number as an index: the caller
 * compares it with this. */
static inline uint32_t ring_indexes(const struct vdm_ring *ring)
{
	return 2 * ring->entries;
}

static inline const struct vdm_descriptor *ring_descriptor(const struct vdm_ring *ring,
							   uint32_t position)
{
	return &ring->descriptors[position & ring->mask];
}

/* Operations that have been given to the file lanes and not reaped. */
static inline uint32_t ring_files_in_flight(const struct vdm_ring *ring)
{
	uint32_t sum = 0;

	for (unsigned i = 0; ring->has_lanes && i < FILE_LANES; i++)
		sum += ring->lanes[i] ? ring_in_flight(ring->lanes[i]) : 0;
	return sum;
}

/*
 * Whether every published operation that is ordered (by a fence, a flush or a link) has begun. Only
 * then may what follows it run in this process, or be taken back into it. An ordered operation
 * begins after all earlier ones have completed, and later ones begin after it. So when as many
 * completions have been reaped as there are operations up to and including it, all earlier ones are
 * among them, or it could not have begun.
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
