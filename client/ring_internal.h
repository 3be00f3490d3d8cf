/* SPDX-License-Identifier: BSD-3-Clause */
/* A ring, as the parts of the library see it: the producer's side of proto/ring.h. */
#ifndef VDM_CLIENT_RING_INTERNAL_H
#define VDM_CLIENT_RING_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "client_internal.h"
#include "engine/engine.h"
#include "proto/ring.h"
#include "region_internal.h"

enum pending_state {
	PENDING_NONE,
	PENDING_ACTIVE,
	PENDING_TAKEN_BACK, /* and reported: its completion tells nothing new */
	PENDING_CONTESTED   /* taken back too late, perhaps: only its completion tells who carries it out */
};

/* An operation that has been published: what its completion, or the daemon's death, is to report. */
struct pending {
	uint64_t user_data;
	uint32_t number;     /* vdm_cqe.operation */
	uint32_t position;   /* in the ring */
	uint32_t next;       /* in the list of free ones */
	enum pending_state state;
};

struct vdm_ring {
	struct vdm_client *client;    /* NULL for a ring within this process */
	LIST_ENTRY(vdm_ring) entry;   /* in client->rings */
	uint32_t epoch;
	uint32_t entries;
	uint32_t spin_us;
	size_t threshold;
	uint32_t connection;          /* of the client, that the ring belongs to */
	bool connected;               /* there is somebody at the other end */
	bool asymmetric;              /* the barriers of the other end reach this process */
	struct region_view view;
	_Atomic uint32_t activity;    /* odd while regions are in use; see ring_active.h */
	_Atomic bool busy;            /* operations may be in flight; for other threads */

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
	unsigned hurry;               /* waits that take back at once, without having been patient */
	int64_t starved_until;        /* the same, until then: ns, CLOCK_MONOTONIC; 0: not so */
	bool takes_back;              /* the daemon claims what it begins */

	/* Entries that the caller has got: `taken` <= `submitted` <= `got`, free-running. */
	struct vdm_sqe *sqes;
	uint32_t got, submitted, taken;
	uint32_t number;              /* of the next operation that takes a lane */

	/* Completions that the caller has not seen: free-running too. */
	struct vdm_cqe *cqes;
	uint32_t cqe_head, cqe_tail;
	uint32_t used;                /* entries got, in flight or unseen: at most `entries` */

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

/*
 * A ring that is served by an engine of this process: every operation goes there, whatever its size and
 * wherever its memory. `memory` is flat. They have to outlive the ring.
 */
int ring_open_inprocess(struct engine *engine, struct engine_account *account,
			struct engine_memory *memory, uint32_t entries, uint32_t spin_us,
			struct vdm_ring **ring);

/* Collect completions and notice a dead daemon, without arming anything. */
void ring_poll(struct vdm_ring *ring);

/* Whether an operation on this memory would go to the daemon; `src` is NULL where there is none. */
bool ring_offloads(struct vdm_ring *ring, const void *dest, const void *src, size_t n);

const struct ring_counters *ring_counters(const struct vdm_ring *ring);

/* Move what has been submitted into its lanes, as far as fences allow. */
void ring_advance(struct vdm_ring *ring);

/*
 * Carry out an operation here that has been published, and that nobody has begun: one that the caller waits for, if
 * `needed` says that he waits for them all, or a short one. Returns whether there was one.
 */
bool ring_take_back(struct vdm_ring *ring, bool needed);

/* Whether the daemon has been woken and has not come yet: it was idle, and is about to come. */
bool ring_is_summoned(const struct vdm_ring *ring);

/* An operation that the daemon found taken back, though this side had come too late for it. Returns its result. */
int ring_carry_out(struct vdm_ring *ring, uint32_t position, uint64_t *value);

/* Carry out the next operation here that the ring has no room for, if it is one that might be taken back from it.
 * Returns whether there was one. */
bool ring_run_waiting(struct vdm_ring *ring, uint64_t most_bytes);

/* Report the end of a published operation. */
void ring_report(struct vdm_ring *ring, const struct pending *pending, uint64_t value, int32_t result);

/* Collect the completions that are there. */
void ring_reap(struct vdm_ring *ring);

/* Have vdm_ring_eventfd()'s descriptor tell of completions that came here. */
void ring_signal_self(struct vdm_ring *ring);

/* The daemon has gone: whatever is in flight completes with -ENOTCONN. */
void ring_lost(struct vdm_ring *ring);

/* Operations that have been published and not reaped. */
static inline uint32_t ring_in_flight(const struct vdm_ring *ring)
{
	return ring->sq_position - ring->cq_position;
}

/* relaxed; partner: rings_await_leave(), which is ordered by `activity` */
static inline void ring_set_busy(struct vdm_ring *ring, bool busy)
{
	atomic_store_explicit(&ring->busy, busy, memory_order_relaxed);
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

/* Completions that the caller has not seen. */
static inline uint32_t ring_unseen(const struct vdm_ring *ring)
{
	return ring->cqe_tail - ring->cqe_head;
}

/* Ask for a signal when the completion count has reached `wanted`, and pass a full barrier. */
void ring_arm(struct vdm_ring *ring, uint32_t wanted);

/* A counter with one writer needs no locked instruction. relaxed; partner: counters_add(). */
static inline void ring_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

#endif
