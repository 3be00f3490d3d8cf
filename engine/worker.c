/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a worker does all day. Leader and followers: whoever holds the lock polls the rings and takes
 * what it finds. To execute it, and to signal, it lets go, for who is served decides how long that takes:
 * another may take over polling. (For rings of this process's own, while it is the only one awake, it keeps
 * the lock: then it costs nothing.) A
 * worker that finds nothing parks if another is awake. The last one awake polls until every ring has
 * been quiet for a while, and then sleeps on the doorbells, for as long as it takes: no timer.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "internal.h"
#include "memory.h"
#include "op/run.h"

/* Waking a thread costs the waker 2 us and takes 30 us on a virtual CPU that has gone idle, in which
 * the waker alone moves about this many bytes. */
#define WAKE_BYTES ((size_t)512 << 10)

/* Steps between two looks at the clock (25 ns each), and how often the doorbells of quiet rings are
 * looked at (0.3 us each) while others keep the workers busy. */
#define STEPS_PER_CLOCK   64
#define STEPS_PER_PIECE   16
#define DOORBELL_LOOK_NS  20000

#define DOORBELLS_AT_ONCE 32

/* While a piece is moved: how many bytes between two looks whether others want something. 0.25 us at 16 GB/s. */
#define LOOK_BYTES ((size_t)4 << 10)

/* Let those have the lock who wait for it: the holder never lets go otherwise while it polls. */
static void breathe(struct engine *engine)
{
	/* relaxed: a hint; partner: engine_lock() */
	if (atomic_load_explicit(&engine->contenders, memory_order_relaxed) == 0)
		return;
	pthread_mutex_unlock(&engine->lock);
	/* About 100 us, in which a sleeping thread wakes up; then the rings have waited long enough. */
	for (unsigned i = 0; i < 4096; i++) {
		if (atomic_load_explicit(&engine->contenders, memory_order_relaxed) == 0)
			break;
		cpu_relax();
	}
	pthread_mutex_lock(&engine->lock);
}

/* Have another worker take its share, if there is one to take and somebody to take it. */
static void wake_another(struct engine *engine)
{
	if (engine->parked <= engine->summons || engine->backlog < WAKE_BYTES)
		return;
	engine->backlog = 0;
	if (!scheduler_pick(engine))
		return;
	engine->summons++;
	pthread_cond_signal(&engine->surplus);
}

/* Do something for a queue without the lock. How long that takes, its client can decide: see supervisor.c. */
static void leave_for(struct worker *worker, struct engine_queue *queue)
{
	worker->serving = queue;
	worker->engine->moving++;
	engine_unlock(worker->engine);
}

static void come_back(struct worker *worker)
{
	engine_lock(worker->engine);
	/* relaxed: written under the lock */
	if (atomic_load_explicit(&worker->aside, memory_order_relaxed))
		supervisor_come_back(worker);
	worker->engine->moving--;
	worker->serving = NULL;
}

/* The same, and own the queue meanwhile. */
static void leave_with(struct worker *worker, struct engine_queue *queue)
{
	queue->busy = true;
	leave_for(worker, queue);
}

static void come_back_with(struct worker *worker, struct engine_queue *queue)
{
	come_back(worker);
	queue->busy = false;
}

static void finish_jobs(struct worker *worker, struct engine_queue *queue)
{
	struct engine *engine = worker->engine;
	bool sent = false;

	while (queue_finish_jobs(queue)) {
		leave_with(worker, queue);
		sent |= queue_signal(queue);
		come_back_with(worker, queue);
	}
	if (sent) /* and that may have taken long: look at the clock soon */
		engine->until_clock = 1;
}

static void end_batch(struct worker *worker)
{
	struct engine_queue *queue = worker->batch;
	struct engine *engine = worker->engine;

	worker->batch = NULL;
	bool sent = queue_signal(queue);

	if (worker->unlocked) {
		worker->unlocked = false;
		come_back_with(worker, queue);
	}
	if (sent) {
		engine->until_clock = 1;
		if (queue->unsignalled)
			worker->cost += OPERATION_COST; /* or nobody else would have a turn */
	}
	finish_jobs(worker, queue);
	scheduler_charge(queue, worker->cost);
	engine_tell_progress(worker, queue);
}

static void run_batch(struct worker *worker, struct engine_queue *queue)
{
	struct engine *engine = worker->engine;

	worker->batch = queue;
	worker->kernels = engine->kernels;
	worker->whole = piece_size(engine) < PIECE_SHARED ? PIECE_OTHERS : PIECE_SHARED;
	/* Who is not trusted can make a page of his memory take long to come: not while others wait. */
	if (engine->awake > 1 || queue->memory->size > 0) {
		worker->unlocked = true;
		leave_with(worker, queue);
	}
	queue_batch(queue, worker);
	end_batch(worker);
}

static void end_piece(struct worker *worker, int32_t error)
{
	struct job *job = worker->job;
	struct engine_queue *queue = job->queue;

	worker->job = NULL;
	worker->watch.count = 0;
	job_piece_done(job, error);
	finish_jobs(worker, queue);
	engine_tell_progress(worker, queue);
}

/* Move a piece from the first `done` bytes on, until somebody else wants something. Returns how many have been moved. */
static size_t move_piece(struct worker *worker, const struct piece *piece, size_t done)
{
	const struct operation *operation = &piece->job->operation; /* does not change while it runs */
	unsigned flags = operation_kernel_flags(operation, &worker->kernels) |
			 (worker->kernels.own ? 0 : KERNEL_UNSETTLED);
	bool watching = worker->watch.count > 0;

	worker->guard.armed = 1;
	atomic_signal_fence(memory_order_seq_cst); /* with the SIGBUS handler */
	do {
		size_t left = piece->length - done, part = watching && left > LOOK_BYTES ? LOOK_BYTES : left;

		operation_run(operation, piece->offset + (piece->job->backward ? left - part : done), part,
			      &worker->kernels, flags);
		done += part;
	} while (done < piece->length && !watch_wanted(worker));
	kernels_settle();
	atomic_signal_fence(memory_order_seq_cst);
	worker->guard.armed = 0;
	return done;
}

static size_t piece_for(struct worker *worker, const struct engine_queue *queue)
{
	size_t most = piece_size(worker->engine);

	if (most >= PIECE_SHARED || worker->engine->kernels.own)
		return most;
	return watch_others(worker, queue->account) ? PIECE_SHARED : most;
}

static void run_piece(struct worker *worker, struct engine_queue *queue)
{
	struct engine *engine = worker->engine;
	struct piece piece = job_take_piece(queue, piece_for(worker, queue));
	size_t done = 0;

	worker->job = piece.job;
	worker->kernels = engine->kernels;
	scheduler_charge(queue, piece.length);
	if (queue->handing_out)
		engine->backlog += piece.job->operation.length - piece.job->given;
	wake_another(engine);
	for (;;) {
		leave_for(worker, queue);
		done = move_piece(worker, &piece, done);
		come_back(worker);
		if (done == piece.length)
			break;
		if (job_return_rest(&piece, done)) {
			scheduler_refund(queue, piece.length - done);
			break;
		}
		worker->watch.count = 0; /* go on without looking */
	}
	end_piece(worker, 0);
}

/* Bring the queues back whose doorbells have rung. */
static void answer_doorbells(struct engine *engine, const struct epoll_event *events, int count, uint64_t now)
{
	for (int i = 0; i < count; i++) {
		uint32_t slot = (uint32_t)events[i].data.u64;
		uint32_t generation = (uint32_t)(events[i].data.u64 >> 32);

		if (slot == KICK_SLOT) {
			uint64_t kicks;

			/* at the end it stays readable, for all to see */
			if (!engine->stopping && read(engine->kick_fd, &kicks, sizeof kicks) < 0)
				continue; /* EAGAIN: another worker was quicker */
		} else if (slot < engine->slots && engine->queues[slot].generation == generation) {
			struct engine_queue *queue = engine->queues[slot].queue;

			if (queue && !queue->polled) {
				scheduler_poll(queue, now);
				scheduler_charge(queue, DOORBELL_COST);
			}
		}
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

	uint64_t now = monotonic_ns();

	scheduler_retire_quiet(engine, now);
	if (engine->queues_added > engine->queues_polled && engine->queues_polled > 0 &&
	    now - engine->doorbells_looked >= DOORBELL_LOOK_NS) {
		struct epoll_event events[DOORBELLS_AT_ONCE];

		int count = epoll_wait(engine->epoll_fd, events, DOORBELLS_AT_ONCE, 0);

		answer_doorbells(engine, events, count, now);
		engine->doorbells_looked = now;
		if (count == DOORBELLS_AT_ONCE) { /* there are more, and among them those of others */
			engine->doorbells_looked = 0;
			engine->until_clock = 1;
		}
	}
}

static void sleep_on_doorbells(struct worker *worker)
{
	struct engine *engine = worker->engine;
	struct epoll_event events[DOORBELLS_AT_ONCE];

	engine->awake--;
	engine->sentinel = true;
	/* relaxed; partner: engine_healthy() */
	atomic_store_explicit(&worker->asleep, true, memory_order_relaxed);
	engine_unlock(engine);
	int count = epoll_wait(engine->epoll_fd, events, DOORBELLS_AT_ONCE, -1);

	engine_lock(engine);
	atomic_store_explicit(&worker->asleep, false, memory_order_relaxed);
	engine->awake++;
	engine->sentinel = false;
	supervisor_watch(engine);
	atomic_fetch_add_explicit(&engine->wakeups, 1, memory_order_relaxed);
	answer_doorbells(engine, events, count, monotonic_ns());
}

static void park(struct worker *worker)
{
	struct engine *engine = worker->engine;

	engine->awake--;
	engine->parked++;
	atomic_store_explicit(&worker->asleep, true, memory_order_relaxed);
	while (engine->summons == 0 && !engine->stopping)
		pthread_cond_wait(&engine->surplus, &engine->lock);
	if (engine->summons > 0)
		engine->summons--;
	atomic_store_explicit(&worker->asleep, false, memory_order_relaxed);
	engine->parked--;
	engine->awake++;
	supervisor_watch(engine);
	atomic_fetch_add_explicit(&engine->wakeups, 1, memory_order_relaxed);
}

/* What it was doing has touched a page that was not there, and has failed. */
static void recover(struct worker *worker)
{
	if (worker->job) {
		come_back(worker);
		scheduler_charge(worker->job->queue, FAULT_COST);
		end_piece(worker, -EFAULT);
	} else {
		worker->cost += FAULT_COST;
		queue_complete(worker->batch, &worker->operation, -EFAULT);
		end_batch(worker);
	}
	look_around(worker->engine, STEPS_PER_PIECE);
}

static void step(struct worker *worker)
{
	struct engine *engine = worker->engine;
	struct engine_queue *queue = scheduler_pick(engine);

	if (queue) {
		wake_another(engine);
		if (queue->handing_out) {
			run_piece(worker, queue);
			look_around(engine, STEPS_PER_PIECE);
		} else {
			run_batch(worker, queue);
			look_around(engine, 1);
		}
		return;
	}
	engine->backlog = 0;
	if (engine->awake > 1 + engine->moving) {
		park(worker);
	} else if (engine->queues_polled > 0) {
		/* No cpu_relax(): a turn of this loop is as long as that, and who submits waits for its end.
		 * relaxed; partner: engine_set_spin() */
		bool spins = atomic_load_explicit(&engine->spin_us, memory_order_relaxed) > 0;

		look_around(engine, spins ? 1 : STEPS_PER_CLOCK);
	} else if (engine->awake == 1 && !engine->sentinel) {
		sleep_on_doorbells(worker);
	} else {
		park(worker);
	}
}

void *worker_main(void *argument)
{
	struct worker *worker = argument;
	struct engine *engine = worker->engine;

	guard_set(&worker->guard);
	engine_lock(engine);
	worker->thread_id = (pid_t)syscall(SYS_gettid);
	engine->awake++;
	supervisor_watch(engine);
	atomic_store_explicit(&worker->asleep, false, memory_order_relaxed);
	if (sigsetjmp(worker->guard.back, 1))
		recover(worker);
	while (!engine->stopping) {
		/* relaxed, one writer; partner: engine_healthy() */
		atomic_store_explicit(
			&worker->steps,
			atomic_load_explicit(&worker->steps, memory_order_relaxed) + 1,
			memory_order_relaxed);
		breathe(engine);
		if (supervisor_has_surplus(engine))
			supervisor_sit_down(worker);
		else
			step(worker);
	}
	engine->awake--;
	engine_unlock(engine);
	guard_set(NULL);
	return NULL;
}
