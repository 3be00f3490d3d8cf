/* SPDX-License-Identifier: BSD-3-Clause */
#include "flight.h"

#include <errno.h>
#include <stdlib.h>

int flights_init(struct flights *flights, unsigned count, struct engine_queue *queue)
{
	*flights = (struct flights){.count = count, .all = calloc(count, sizeof *flights->all)};
	if (!flights->all)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		struct flight *flight = &flights->all[i];

		flight->queue = queue;
		flight->flights = flights;
		flight->next = flights->free;
		flights->free = flight;
	}
	return 0;
}

void flights_free(struct flights *flights)
{
	free(flights->all);
}

void flight_begin(struct flights *flights, const struct operation *operation,
		  struct backend *backend)
{
	struct flight *flight = flights->free;

	flights->free = flight->next;
	flights->active++;
	flight->operation = *operation;
	flight->backend = backend;
	flight->request.done = 0;
	flight->given = 0;
	flight->workers = 0;
	flight->submitted = false;
	flight->error = 0;
	flight->closed = false;
	flight->serial = operation_overlaps(operation);
	flight->backward = flight->serial && operation->destination > operation->source;
	flights->open = flight;
}

/* Hand out nothing more of it: its queue may go on to the next operation. */
static void flight_close(struct flight *flight)
{
	flight->closed = true;
	flight->flights->open = NULL;
}

struct piece flights_take_piece(struct flights *flights, size_t most)
{
	struct flight *flight = flights->open;
	size_t left = flight->operation.length - flight->given;
	bool whole = left < most || !(flight->operation.facts & OP_DIVISIBLE);
	struct piece piece = {.flight = flight, .length = whole ? left : most};

	piece.offset = flight->backward ? left - piece.length : flight->given;
	flight->given += piece.length;
	piece.given = flight->given;
	flight->workers++;
	if (flight->given == flight->operation.length)
		flight_close(flight);
	return piece;
}

bool flight_return_rest(const struct piece *piece, size_t done, bool may_reopen)
{
	struct flight *flight = piece->flight;

	if (flight->error)
		return true; /* it need not be carried out at all */
	if (flight->given != piece->given)
		return false; /* other workers are at what comes after it */
	if (!may_reopen)
		return false;
	if (flight->closed) {
		if (flight->flights->open)
			return false; /* the queue has gone on */
		flight->closed = false;
		flight->flights->open = flight;
	}
	flight->given -= piece->length - done;
	return true;
}

/* A part of it has come to its end. */
static void flight_settle(struct flight *flight, int32_t error)
{
	if (error && !flight->error)
		flight->error = error;
	/* Once it is closed, `open` belongs to the holder of the queue's lease. */
	if (flight->error && !flight->closed)
		flight_close(flight); /* the operation has failed, whatever becomes of the rest */
	if (flight->closed && flight->workers == 0 && !flight->submitted) {
		flight->next = flight->flights->finished;
		flight->flights->finished = flight;
	}
}

void flight_piece_done(struct flight *flight, int32_t error)
{
	flight->workers--;
	flight_settle(flight, error);
}

void flight_submit(struct flight *flight)
{
	flight->submitted = true;
}

void flight_completed(struct flight *flight, int32_t error)
{
	flight->submitted = false;
	flight_settle(flight, error);
}

void flights_cancel(struct flights *flights, int32_t error)
{
	struct flight *flight = flights->open;

	if (flight)
		flight_settle(flight, error);
}

struct flight *flights_pop_finished(struct flights *flights)
{
	struct flight *flight = flights->finished;

	if (!flight)
		return NULL;
	flights->finished = flight->next;
	flight->next = flights->free;
	flights->free = flight;
	flights->active--;
	return flight;
}

bool flights_need_worker(const struct flights *flights)
{
	if (flights->open)
		return true;
	for (unsigned i = 0; flights->active > 0 && i < flights->count; i++)
		if (flights->all[i].workers > 0)
			return true;
	return false;
}

bool flights_use(const struct flights *flights, uint32_t region)
{
	for (unsigned i = 0; flights->active > 0 && i < flights->count; i++) {
		const struct flight *flight = &flights->all[i];

		if ((flight->workers > 0 || flight->submitted || flight == flights->open) &&
		    operation_uses(&flight->operation, region))
			return true;
	}
	return false;
}
