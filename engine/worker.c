/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a worker does. Workers are leader and followers: the one that holds the lock polls the rings
 * and takes what it finds. To carry that out, and to signal, it gives the lock up, because the
 * client decides how long that takes; another worker may go on polling. (For rings of this
 * process's own, while no other worker is awake, it keeps the lock: then the lock costs nothing.) A
 * worker that finds nothing parks if another is awake. The last one awake polls until every ring
 * has been quiet for a while, and then sleeps on the doorbells without a timeout.
 */
#include "worker.h"

#include <errno.h>

#include "answer.h"
#include "base/clock.h"
#include "parts.h"

/* Waking a thread costs the waker 2 us and takes 30 us on a virtual CPU that has gone idle, in
 * which the waker alone moves about this many bytes. */
#define WAKE_BYTES ((size_t)512 << 10)

/* Steps between two looks at the clock (25 ns each), and how often the doorbells of quiet rings are
 * looked at (0.3 us each) while others keep the workers busy. */
#define STEPS_PER_CLOCK  64
#define STEPS_PER_PIECE  16
#define DOORBELL_LOOK_NS 20000

/* Have another worker take its share, if there is one to take and one to take it. */
static void wake_another(struct engine *engine)
{
	struct crew *crew = &engine->crew;

	if (crew->in[WORKER_PARKED] == 0 || engine->scheduler.backlog < WAKE_BYTES)
		return;
	engine->scheduler.backlog = 0;
	if (scheduler_pick(&engine->scheduler))
		crew_call(crew, WORKER_PARKED);
}

/* Do something for a queue without the lock. The client decides how long that takes: see
 * supervisor.h. */
static void leave_lock(struct worker *worker, struct engine_queue *queue)
{
	worker->serving = queue;
	crew_set_state(worker, WORKER_SERVING);
	crew_unlock(worker->crew);
}

static void retake_lock(struct worker *worker)
{
	struct engine *engine = engine_of(worker);

	crew_lock(worker->crew);
	if (worker_is(worker, WORKER_STUCK)) {
		scheduler_resume(&engine->scheduler, worker->serving->account);
		supervisor_begin(&engine->supervisor);
	}
	crew_set_state(worker, WORKER_POLLING);
	worker->serving = NULL;
}

static void lease(struct worker *worker, struct engine_queue *queue)
{
	queue->leased = true;
	leave_lock(worker, queue);
}

static void return_lease(struct worker *worker, struct engine_queue *queue)
{
	retake_lock(worker);
	queue->leased = false;
}

/* Signalling has taken so many ns. */
static void charge_signal(struct engine *engine, struct engine_queue *queue, uint64_t ns)
{
	scheduler_charge(&engine->scheduler, queue, ns * SIGNAL_NS_COST);
	engine->until_clock = 1; /* that may have taken long: look at the clock soon */
}

/* Complete what is finished. Returns whether there was anything. */
static bool finish_flights(struct worker *worker, struct engine_queue *queue)
{
	bool any = false;

	while (queue_finish_flights(queue)) {
		any = true;
		lease(worker, queue);
		uint64_t ns = queue_signal(queue);

		return_lease(worker, queue);
		if (ns > 0)
			charge_signal(engine_of(worker), queue, ns);
	}
	return any;
}

static void end_batch(struct worker *worker)
{
	struct engine_queue *queue = worker->in_batch;
	struct engine *engine = engine_of(worker);
	size_t cost = worker->batch.cost;

	worker->in_batch = NULL;
	uint64_t ns = queue_signal(queue);

	if (worker->leases) {
		worker->leases = false;
		return_lease(worker, queue);
	}
	if (ns > 0)
		charge_signal(engine, queue, ns);
	finish_flights(worker, queue);
	scheduler_charge(&engine->scheduler, queue, cost);
	engine_tell_progress(engine, queue);
}

static void run_batch(struct worker *worker, struct engine_queue *queue)
{
	struct engine *engine = engine_of(worker);
	size_t piece = scheduler_piece_size(&engine->scheduler);

	worker->in_batch = queue;
	worker->batch.kernels = engine->cpu.kernels;
	worker->batch.backend = engine->backend;
	worker->batch.whole = piece < PIECE_SHARED ? PIECE_OTHERS : PIECE_SHARED;
	/* Clients can stall faults on their own memory, so give up the lock, unless the ring is
	 * this process's own and no other worker is awake. */
	if (crew_awake(&engine->crew) > 1 || memory_has_table(queue->memory)) {
		worker->leases = true;
		lease(worker, queue);
	}
	queue_batch(queue, &worker->batch);
	end_batch(worker);
}

static void end_piece(struct worker *worker, int32_t error)
{
	struct flight *flight = worker->piece.flight;
	struct engine_queue *queue = flight->queue;
	struct engine *engine = engine_of(worker);
	bool revoked = peek_end(&worker->peek);

	worker->piece.flight = NULL;
	flight_piece_done(flight, error);
	bool finished = finish_flights(worker, queue);

	scheduler_notice(queue); /* only one worker at a time may be at its pieces */
	if (revoked)
		crew_tell_progress(&engine->crew, &engine->crew.peeks);
	if (finished)
		engine_tell_progress(engine, queue);
}

static bool is_wanted(struct backend_request *request)
{
	struct worker *worker = request->owner;

	return peek_wanted(&worker->peek);
}

/* Carry out what is left of the piece on this CPU, until another account wants something. */
static void move_piece(struct worker *worker)
{
	struct backend *cpu = &worker->cpu.backend;

	worker->request.interrupted = worker->peek.count > 0 ? is_wanted : NULL;
	worker->batch.guard.armed = 1;
	atomic_signal_fence(memory_order_seq_cst); /* with the SIGBUS handler */
	cpu->submit(cpu, &worker->request);
	atomic_signal_fence(memory_order_seq_cst);
	worker->batch.guard.armed = 0;
}

static size_t piece_for(struct worker *worker, const struct engine_queue *queue)
{
	const struct engine *engine = engine_of(worker);
	size_t most = scheduler_piece_size(&engine->scheduler);

	if (engine->cpu.kernels.own)
		return SIZE_MAX; /* a program's kernels are given whole operations */
	if (most >= PIECE_SHARED || !engine->crew.may_peek)
		return most;
	return peek_prepare(&worker->peek, &engine->scheduler, queue->account) ? PIECE_SHARED
									       : most;
}

static void run_piece(struct worker *worker, struct engine_queue *queue)
{
	struct engine *engine = engine_of(worker);
	struct backend_request *request = &worker->request;
	const struct piece *piece = &worker->piece;

	worker->piece = flights_take_piece(&queue->flights, piece_for(worker, queue));
	worker->cpu = engine->cpu;
	*request = (struct backend_request){
		.operation = &piece->flight->operation, /* does not change while it runs */
		.offset = piece->offset,
		.length = piece->length,
		.backward = piece->flight->backward,
		.owner = worker,
	};
	scheduler_charge(&engine->scheduler, queue, piece->length);
	if (queue->flights.open)
		engine->scheduler.backlog += request->operation->length - piece->flight->given;
	wake_another(engine);
	for (;;) {
		leave_lock(worker, queue);
		move_piece(worker);
		retake_lock(worker);
		if (request->done == piece->length)
			break;
		if (flight_return_rest(piece, request->done,
				       !queue->memory->paused && !queue->leased)) {
			scheduler_refund(queue, piece->length - request->done);
			break;
		}
		peek_stop(&worker->peek); /* go on without looking */
	}
	end_piece(worker, 0);
}

/* A backend has carried out a flight, at a time of its own. */
static void on_completed(struct backend_request *request)
{
	struct flight *flight = request->owner;
	struct engine_queue *queue = flight->queue;
	struct engine *engine = queue->account->engine;

	crew_lock(&engine->crew);
	flight_completed(flight, request->error);
	/* The completion is posted by the next worker that has the queue's turn, or by the queue's
	 * removal. */
	if (!queue->turn.polled)
		scheduler_poll(&engine->scheduler, queue, monotonic_ns());
	scheduler_notice(queue);
	supervisor_wake(&engine->crew, &engine->doorbells);
	engine_tell_progress(engine, queue);
	crew_unlock(&engine->crew);
}

/* Have a backend carry out a flight, as a whole. It may be complete before submit() returns. */
static void submit_flight(struct worker *worker, struct engine_queue *queue)
{
	struct engine *engine = engine_of(worker);
	struct flight *flight = flights_take_piece(&queue->flights, SIZE_MAX).flight;
	struct backend_request *request = &flight->request;

	*request = (struct backend_request){
		.operation = &flight->operation,
		.length = flight->operation.length,
		.completed = on_completed,
		.owner = flight,
	};
	worker->piece.flight = flight;
	flight_submit(flight);
	scheduler_charge(&engine->scheduler, queue, flight->operation.length);
	leave_lock(worker, queue);
	int result = flight->backend->submit(flight->backend, request);

	retake_lock(worker);
	if (result != -EINPROGRESS)
		flight_completed(flight, result ? result : request->error);
	end_piece(worker, 0);
}

/* Look at the doorbells without sleeping. The lock is given up meanwhile. */
static void look_at_doorbells(struct engine *engine, uint64_t now)
{
	struct epoll_event events[ACCOUNTS_AT_ONCE];

	engine->doorbells_looked = now;
	crew_unlock(&engine->crew);
	int count = doorbells_wait(&engine->doorbells, 0, events);

	crew_lock(&engine->crew);
	answer_doorbells(engine, events, count);
	if (count == ACCOUNTS_AT_ONCE) { /* and there may be more */
		engine->doorbells_looked = 0;
		engine->until_clock = 1;
	}
}

/* Now and then: look which rings have been quiet, and whether others want to come back. */
static void look_around(struct engine *engine, unsigned steps)
{
	if (engine->until_clock > steps) {
		engine->until_clock -= steps;
		return;
	}
	engine->until_clock = STEPS_PER_CLOCK;

	const struct scheduler *scheduler = &engine->scheduler;
	uint64_t now = monotonic_ns();

	scheduler_retire_quiet(&engine->scheduler, now);
	if (engine->doorbells.queues > scheduler->queues_polled && scheduler->queues_polled > 0 &&
	    now - engine->doorbells_looked >= DOORBELL_LOOK_NS)
		look_at_doorbells(engine, now);
}

static void sleep_on_doorbells(struct worker *worker)
{
	struct engine *engine = engine_of(worker);
	struct epoll_event events[ACCOUNTS_AT_ONCE];

	crew_set_state(worker, WORKER_DOORBELLS);
	crew_unlock(&engine->crew);
	int count = doorbells_wait(&engine->doorbells, -1, events);

	crew_lock(&engine->crew);
	crew_set_state(worker, WORKER_POLLING);
	/* relaxed: a sum, written with the lock held */
	atomic_fetch_add_explicit(&engine->crew.wakeups, 1, memory_order_relaxed);
	supervisor_begin(&engine->supervisor);
	answer_doorbells(engine, events, count);
}

static void sleep_until_called(struct worker *worker, enum worker_state state)
{
	crew_sleep(worker, state);
	supervisor_begin(&engine_of(worker)->supervisor);
}

/* What the worker was doing has touched a page that is not there, and has failed. */
static void recover(struct worker *worker)
{
	struct engine *engine = engine_of(worker);

	if (worker->piece.flight) {
		retake_lock(worker);
		scheduler_charge(&engine->scheduler, worker->piece.flight->queue, FAULT_COST);
		end_piece(worker, -EFAULT);
	} else {
		worker->batch.cost += FAULT_COST;
		queue_complete(worker->in_batch, &worker->batch.operation, -EFAULT);
		end_batch(worker);
	}
	look_around(engine, STEPS_PER_PIECE);
}

static void serve(struct worker *worker, struct engine_queue *queue)
{
	const struct flights *flights = &queue->flights;
	struct engine *engine = engine_of(worker);
	unsigned steps = STEPS_PER_PIECE;

	wake_another(engine);
	if (flights->finished) {
		finish_flights(worker, queue);
		engine_tell_progress(engine, queue);
	} else if (!flights->open) {
		run_batch(worker, queue);
		steps = 1;
	} else if (flights->open->backend) {
		submit_flight(worker, queue);
	} else {
		run_piece(worker, queue);
	}
	look_around(engine, steps);
}

static void find_something_to_do(struct worker *worker)
{
	struct engine *engine = engine_of(worker);
	struct crew *crew = &engine->crew;
	struct engine_queue *queue = scheduler_pick(&engine->scheduler);

	if (queue) {
		serve(worker, queue);
		return;
	}
	engine->scheduler.backlog = 0;

	bool alone = crew->in[WORKER_POLLING] == 1;

	if (alone && engine->scheduler.queues_polled > 0) {
		/* No cpu_relax(): a turn of this loop takes as long, and a submission waits for its
		 * end. Without spinning, quiet rings are left at the first look. */
		bool spins =
			atomic_load_explicit(&engine->scheduler.spin_us, memory_order_relaxed) > 0;

		look_around(engine, spins ? 1 : STEPS_PER_CLOCK);
	} else if (alone && crew_awake(crew) == 1 && crew->in[WORKER_DOORBELLS] == 0) {
		sleep_on_doorbells(worker);
	} else {
		sleep_until_called(worker, WORKER_PARKED);
	}
}

void *worker_main(void *argument)
{
	struct worker *worker = argument;
	struct engine *engine = engine_of(worker);
	struct crew *crew = &engine->crew;

	int stat_fd = worker->stat_fd; /* written by the thread that made this one, and by this */

	if (stat_fd >= 0)
		stat_fd = thread_open_stat(stat_fd);
	guard_set(&worker->batch.guard);
	crew_lock(crew);
	worker->stat_fd = stat_fd;
	crew_set_state(worker, WORKER_POLLING);
	crew->started++;
	crew_tell_progress(crew, &crew->starts);
	supervisor_begin(&engine->supervisor);
	if (sigsetjmp(worker->batch.guard.back, 1))
		recover(worker);
	while (!crew->stopping) {
		/* relaxed, one writer; partners: crew_is_healthy(), the supervisor */
		atomic_store_explicit(&worker->steps,
				      atomic_load_explicit(&worker->steps, memory_order_relaxed) +
					      1,
				      memory_order_relaxed);
		crew_yield_lock(crew);
		if (supervisor_has_surplus(crew))
			sleep_until_called(worker, WORKER_BENCHED);
		else
			find_something_to_do(worker);
	}
	crew_set_state(worker, WORKER_BENCHED);
	crew_unlock(crew);
	guard_set(NULL);
	return NULL;
}
