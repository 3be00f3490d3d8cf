/* SPDX-License-Identifier: BSD-3-Clause */
#include "queue.h"

#include <stdlib.h>

#include "base/clock.h"
#include "memory.h"
#include "op/run.h"
#include "pieces.h"

int queue_new(const struct engine_queue_options *options, unsigned flights,
	      struct engine_queue **queue)
{
	struct engine_queue *q = calloc(1, sizeof *q);

	if (!q)
		return -ENOMEM;

	int result = flights_init(&q->flights, flights, q);

	if (result) {
		free(q);
		return result;
	}
	wait_init(&q->wait);
	consumer_init(&q->consumer, options);
	q->account = options->account;
	q->memory = options->memory;
	q->violated = options->violated;
	q->over_limit = options->over_limit;
	q->bell_unread = options->bell_unread;
	q->signal = options->signal;
	q->context = options->context;
	q->turn.priority = options->priority;
	q->doorbell_fd = options->doorbell_fd;
	*queue = q;
	return 0;
}

void queue_free(struct engine_queue *queue)
{
	flights_free(&queue->flights);
	wait_destroy(&queue->wait);
	free(queue);
}

/* Whether nothing keeps operations from beginning. */
static bool may_begin(const struct engine_queue *queue)
{
	return !queue->removed && !queue->broken && !queue->memory->paused && queue->flights.free;
}

bool queue_ready(const struct engine_queue *queue)
{
	const struct consumer *consumer = &queue->consumer;

	if (queue->leased)
		return false;
	if (queue->flights.finished)
		return true;
	if (queue->flights.open)
		return flight_has_piece(queue->flights.open);
	if (!may_begin(queue))
		return false;
	if (queue->order.fenced)
		return consumer->tail == queue->order.next.position || consumer->unsignalled > 0;

	const struct next_slot next = consumer_next(consumer);

	return !next_slot_is_empty(&next) || consumer->unsignalled > 0;
}

bool queue_waits_for_producer(const struct engine_queue *queue, struct next_slot *next)
{
	if (queue->leased || queue->flights.finished || queue->flights.open || !may_begin(queue) ||
	    queue->order.fenced)
		return false;
	*next = consumer_next(&queue->consumer);
	return true;
}

/* The next operation that may begin now. */
static bool queue_next(struct engine_queue *queue, struct operation *operation)
{
	struct order *order = &queue->order;

	if (order->fenced) {
		if (queue->consumer.tail != order->next.position)
			return false;
		*operation = order->next;
		order->fenced = false;
	} else {
		const char *violation = NULL;

		if (!consumer_take(&queue->consumer, queue->memory, operation, &violation)) {
			if (violation) {
				queue->broken = true;
				queue->violated(queue->context, violation);
			}
			return false;
		}
		if (!order_admit(order, operation, consumer_in_flight(&queue->consumer) - 1))
			return false;
	}
	order_begin(order, operation);
	return true;
}

/* Claim an operation. Returns whether it is not there any more: the producer has taken it back. */
static bool is_taken_back(struct engine_queue *queue, struct operation *operation)
{
	if (consumer_claim(&queue->consumer, operation->position))
		return false;
	operation->taken_back = true;
	operation->error = -ECANCELED;
	return true;
}

/*
 * An operation that is large, or that a backend may want: find out whether it becomes a flight.
 * Returns whether it did.
 */
static bool begin_flight(struct engine_queue *queue, const struct batch *batch,
			 struct operation *operation)
{
	struct backend *backend = batch->backend;

	if (operation->length > VDM_CLAIM_BYTES && is_taken_back(queue, operation))
		return false;
	if (backend && !backend->supports(backend, operation))
		backend = NULL;
	if (!backend && (operation->flags & VDM_DESCRIPTOR_DURABLE))
		operation->error = -EOPNOTSUPP;
	if (!backend && (operation->length <= batch->whole || operation->error))
		return false;
	operation->error = account_charge(queue->account, operation->length);
	if (operation->error) {
		if (queue->over_limit)
			queue->over_limit(queue->context);
		return false;
	}
	flight_begin(&queue->flights, operation, backend);
	return true;
}

static void run_small(struct batch *batch)
{
	const struct operation *operation = &batch->operation;
	const struct kernels *kernels = &batch->kernels;

	batch->guard.armed = 1;
	atomic_signal_fence(memory_order_seq_cst); /* with the SIGBUS handler */
	operation_run(operation, 0, operation->length, kernels,
		      operation_kernel_flags(operation, kernels));
	atomic_signal_fence(memory_order_seq_cst);
	batch->guard.armed = 0;
}

void queue_batch(struct engine_queue *queue, struct batch *batch)
{
	struct operation *operation = &batch->operation;
	const size_t small = batch->backend ? 0 : PIECE_OTHERS;

	batch->cost = 0;
	for (unsigned n = 0; n < BATCH_OPERATIONS && batch->cost < BATCH_BYTES; n++) {
		/* no client is charged for bytes that were not moved */
		size_t cost = OPERATION_COST;

		if (!queue_next(queue, operation))
			break;
		if (operation->error)
			is_taken_back(queue, operation); /* and its region removed since */
		else if (operation->length > small && begin_flight(queue, batch, operation))
			break;
		if (!operation->error) {
			run_small(batch);
			if (operation->length > cost)
				cost = operation->length;
		}
		batch->cost += cost;
		queue_complete(queue, operation, operation->error);
	}
	consumer_note_in_flight(&queue->consumer);
}

void queue_complete(struct engine_queue *queue, const struct operation *operation, int32_t error)
{
	order_completed(&queue->order, operation, error);
	consumer_complete(&queue->consumer, operation, error);
}

static void complete_flight(struct engine_queue *queue, const struct flight *flight)
{
	const struct operation *operation = &flight->operation;

	if (queue->removed && flight->error == -ECANCELED) {
		consumer_leave(&queue->consumer);
	} else if (flight->error && flight->backend && (operation->facts & OP_WRITES)) {
		order_completed(&queue->order, operation, flight->error);
		consumer_fail(&queue->consumer, operation, flight->error, flight->request.done);
	} else {
		queue_complete(queue, operation, flight->error);
	}
	account_release(queue->account, operation->length);
}

bool queue_finish_flights(struct engine_queue *queue)
{
	struct flight *flight;

	if (!queue->flights.finished || queue->leased)
		return false;
	while ((flight = flights_pop_finished(&queue->flights)))
		complete_flight(queue, flight);
	consumer_note_in_flight(&queue->consumer);
	return true;
}

/* The client waits for a signal. Not inlined: a client that does not sleep needs none. */
static __attribute__((noinline)) uint64_t send_or_pass_on(struct engine_queue *queue, uint32_t arm)
{
	struct sender *sender = &queue->account->sender;
	const uint64_t begin = monotonic_ns();
	const bool passes_on = queue->signal && sender_passes_on(sender, begin);

	if (passes_on) {
		consumer_passes_on(&queue->consumer, arm);
		queue->signal(queue->context);
	} else {
		consumer_signal(&queue->consumer, arm, &queue->broken);
	}
	const uint64_t end = monotonic_ns();

	if (!passes_on)
		sender_took(sender, begin, end);
	return end > begin ? end - begin : 1;
}

uint64_t queue_signal(struct engine_queue *queue)
{
	uint32_t arm;

	return consumer_owes_signal(&queue->consumer, &arm) ? send_or_pass_on(queue, arm) : 0;
}

void queue_signal_here(struct engine_queue *queue)
{
	uint32_t arm;

	if (consumer_owes_signal(&queue->consumer, &arm))
		consumer_signal(&queue->consumer, arm, &queue->broken);
}
