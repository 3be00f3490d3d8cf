/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Flights: operations that have begun and are not complete. A large one is carried out in pieces,
 * so that several workers share it and no client waits for longer than one piece behind another's
 * gigabyte. One that a backend carries out by itself is in progress without a worker.
 *
 * Guarded by the crew's lock; flight_begin() may be called with the queue's lease alone, since its
 * caller is the only one that begins flights of the queue and none is open then.
 */
#ifndef VDM_ENGINE_FLIGHT_H
#define VDM_ENGINE_FLIGHT_H

#include "op/backend.h"

struct engine_queue;

struct flight {
	struct operation operation;
	struct engine_queue *queue;
	struct flights *flights;        /* of that queue */
	struct backend *backend;        /* NULL: the CPU of whichever worker has time */
	struct backend_request request; /* of that backend */
	size_t given;                   /* bytes handed out in pieces so far */
	unsigned workers;               /* that are at pieces of it, or submit it */
	bool submitted;                 /* the backend has not completed the request */
	bool serial;                    /* pieces have to follow each other: the ranges overlap */
	bool backward;                  /* and from the end to the beginning */
	bool closed;                    /* no further piece is handed out */
	int32_t error;                  /* 0, or why it was closed early */
	struct flight *next;            /* in the list of free or of finished ones */
};

/* The flights of a queue. */
struct flights {
	struct flight *open;     /* has pieces left */
	struct flight *finished; /* to be completed by the holder of the queue's lease */
	struct flight *free;
	unsigned active;
	unsigned count;
	struct flight *all;
};

/* A part of a flight that is being carried out. */
struct piece {
	struct flight *flight;
	size_t offset, length; /* bytes */
	size_t given;          /* of the flight, with this piece */
};

/* Room for `count` flights of a queue. Returns 0 or -ENOMEM. */
int flights_init(struct flights *flights, unsigned count, struct engine_queue *queue);
void flights_free(struct flights *flights);

/* Begin an operation; there is a free flight, and none is open. */
void flight_begin(struct flights *flights, const struct operation *operation,
		  struct backend *backend);

/* Whether another piece of an open flight may begin now. */
static inline bool flight_has_piece(const struct flight *flight)
{
	return !flight->serial || flight->workers == 0;
}

/* Hand out the next piece of the open flight: of at most so many bytes, if it is divisible. */
struct piece flights_take_piece(struct flights *flights, size_t most);

/*
 * Have what comes after the first `done` bytes of a piece carried out later. Returns whether that
 * is so; if not, the caller has to go on with it. `may_reopen`: nothing of the queue has begun
 * since, and nothing keeps operations from beginning.
 */
bool flight_return_rest(const struct piece *piece, size_t done, bool may_reopen);

/* The worker that took a piece is done with it. */
void flight_piece_done(struct flight *flight, int32_t error);

/* The worker that took all of a flight submits it to its backend; the backend is done with it. */
void flight_submit(struct flight *flight);
void flight_completed(struct flight *flight, int32_t error);

/* Hand out nothing more of the open flight, which fails with `error`. No batch of the queue is
 * being run. */
void flights_cancel(struct flights *flights, int32_t error);

/* The next finished flight, which is free with this, or NULL. */
struct flight *flights_pop_finished(struct flights *flights);

/* Whether any of them is open or has a worker at it: the others are in a backend's hands alone. */
bool flights_need_worker(const struct flights *flights);

/* Whether one that is open, or is being carried out, uses the region. */
bool flights_use(const struct flights *flights, uint32_t region);

static inline bool operation_uses(const struct operation *operation, uint32_t region)
{
	return operation->destination_region == region || operation->source_region == region;
}

#endif
