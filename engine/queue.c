/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The consumer's side of a ring. The producer may be lying: of what it wrote, only the sequence words are
 * believed (and only as far as "this slot may be fetched"), and a descriptor is used only after it was
 * copied to private memory. Head, tail and sizes never come from the ring.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "internal.h"
#include "descriptor.h"
#include "memory.h"
#include "op/run.h"

/* A signal that there is no memory for is tried so often before its client is hung up on. */
#define SIGNAL_TRIES 100

static const struct vdm_descriptor *next_slot(const struct engine_queue *queue)
{
	return &queue->descriptors[queue->head & (queue->entries - 1)];
}

bool queue_ready(struct engine_queue *queue)
{
	if (queue->busy)
		return false;
	if (queue->handing_out) {
		const struct job *job = queue->handing_out;

		return !job->serial || job->running == 0;
	}
	if (queue->removed || queue->broken || queue->memory->paused)
		return false;
	if (queue->holding)
		return queue->tail == queue->held.position || queue->unsignalled > 0;
	return descriptor_state(next_slot(queue), queue->head, queue->entries) != DESCRIPTOR_EMPTY ||
	       queue->unsignalled > 0;
}

bool queue_waits_for_producer(const struct engine_queue *queue, struct watched *watched)
{
	if (queue->busy || queue->handing_out || queue->removed || queue->broken || queue->memory->paused || queue->holding)
		return false;
	*watched = (struct watched){queue, next_slot(queue), queue->head, queue->entries};
	return true;
}

static void queue_break(struct engine_queue *queue, const char *reason)
{
	queue->broken = true;
	queue->violated(queue->context, reason);
}

/* Take the next descriptor, if there is one. */
static bool queue_take(struct engine_queue *queue, struct operation *operation)
{
	const struct vdm_descriptor *slot = next_slot(queue);
	struct vdm_descriptor copy;

	switch (descriptor_state(slot, queue->head, queue->entries)) {
	case DESCRIPTOR_EMPTY:
		return false;
	case DESCRIPTOR_IMPOSSIBLE:
		queue_break(queue, "a submission's sequence number jumped");
		return false;
	case DESCRIPTOR_READY:
		break;
	}
	if (queue->head - queue->tail == queue->entries) {
		queue_break(queue, "more operations in flight than the ring has entries");
		return false;
	}
	descriptor_fetch(slot, &copy);
	descriptor_resolve(&copy, queue->head, queue->memory, operation);
	operation->linked = queue->chained;
	operation->waits |= operation->linked;
	queue->chained = operation->flags & VDM_DESCRIPTOR_LINK;
	queue->head++;
	return true;
}

/* The next operation that may begin now. */
static bool queue_next(struct engine_queue *queue, struct operation *operation)
{
	if (queue->holding) {
		if (queue->tail != queue->held.position)
			return false;
		*operation = queue->held;
		queue->holding = false;
	} else {
		if (!queue_take(queue, operation))
			return false;
		if (operation->waits && queue->tail != operation->position) {
			queue->held = *operation;
			queue->holding = true;
			return false;
		}
	}
	if (operation->linked && queue->chain_failed)
		operation->error = -ECANCELED;
	return true;
}

/* Whether the operation is this side's to carry out: from now on, or no longer. */
static bool queue_claim(struct engine_queue *queue, uint32_t position)
{
	/* release, then full barrier; partner: the client's ring_take_back(), which stores what it takes, passes a
	 * full barrier and reads this */
	atomic_store_explicit(&queue->daemon_line->claimed, position + 1, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);

	uint64_t taken = atomic_load_explicit(&queue->client_line->taken_back, memory_order_acquire);
	uint32_t from = (uint32_t)taken, to = (uint32_t)(taken >> 32);

	return position - from >= to - from;
}

/* After each batch rather than each operation. relaxed; partner: engine_queue_counters() */
static void note_in_flight(struct engine_queue *queue)
{
	atomic_store_explicit(&queue->in_flight, queue->head - queue->tail, memory_order_relaxed);
}

/* Begin an operation that the producer may have taken back, or that is to be cut up. Returns whether it is under way: the
 * queue goes on to the next operation when it has been handed out. */
static bool begin_large(struct engine_queue *queue, struct worker *worker, struct operation *operation)
{
	if (operation->length > VDM_CLAIM_BYTES && !queue_claim(queue, operation->position)) {
		operation->taken_back = true;
		operation->error = -ECANCELED;
		return false;
	}
	if (operation->length <= worker->whole)
		return false;
	operation->error = job_begin(queue, operation);
	if (operation->error && queue->over_limit)
		queue->over_limit(queue->context);
	return !operation->error;
}

static void run_small(struct worker *worker, const struct operation *operation)
{
	const struct kernels *kernels = &worker->kernels;

	worker->guard.armed = 1;
	atomic_signal_fence(memory_order_seq_cst); /* with the SIGBUS handler */
	operation_run(operation, 0, operation->length, kernels, operation_kernel_flags(operation, kernels));
	atomic_signal_fence(memory_order_seq_cst);
	worker->guard.armed = 0;
}

void queue_batch(struct engine_queue *queue, struct worker *worker)
{
	struct operation *operation = &worker->operation;

	worker->cost = 0;
	for (unsigned n = 0; n < BATCH_OPERATIONS && worker->cost < BATCH_BYTES; n++) {
		size_t cost = OPERATION_COST; /* no client is charged for bytes that were not moved */

		if (!queue_next(queue, operation))
			break;
		if (!operation->error && operation->length > PIECE_OTHERS && begin_large(queue, worker, operation))
			break;
		if (!operation->error) {
			run_small(worker, operation);
			if (operation->length > cost)
				cost = operation->length;
		}
		worker->cost += cost;
		queue_complete(queue, operation, operation->error);
	}
	note_in_flight(queue);
}

/* A counter with one writer at a time needs no locked instruction. */
static void count(_Atomic uint64_t *counter, uint64_t n)
{
	/* relaxed; partner: engine_queue_counters(), which needs no order */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

void queue_complete(struct engine_queue *queue, const struct operation *operation, int32_t error)
{
	struct vdm_completion *slot = &queue->completions[queue->tail & (queue->entries - 1)];
	const uint64_t value = error ? 0 : operation_value(operation);
	uint32_t position = queue->tail++;

	if (error) {
		count(&queue->failed, !operation->taken_back);
	} else {
		count(&queue->operations[operation->opcode], 1);
		count(&queue->bytes, value);
	}
	if (operation->flags & VDM_DESCRIPTOR_LINK)
		queue->chain_failed = error != 0;

	slot->user_data = operation->user_data;
	slot->value = value;
	slot->result = error;
	slot->flags = operation->taken_back ? VDM_COMPLETION_TAKEN_BACK : 0;
	slot->operation = operation->position;
	/* release; partner: the client's reap, acquire: it sees the bytes that were moved and this entry */
	atomic_store_explicit(&slot->sequence, position + 1, memory_order_release);
}

bool queue_signal(struct engine_queue *queue)
{
	const uint32_t tries = queue->unsignalled;

	queue->unsignalled = 0;
	/* full barrier between publishing completions and reading the announcement (I6); partner: the client,
	 * which arms, passes a full barrier, looks again and only then sleeps */
	atomic_thread_fence(memory_order_seq_cst);

	uint32_t arm = atomic_load_explicit(&queue->client_line->arm, memory_order_acquire);

	if (arm == queue->signalled)
		return false;

	uint32_t wanted = atomic_load_explicit(&queue->client_line->wanted, memory_order_relaxed);

	if ((int32_t)(queue->tail - wanted) < 0)
		return false;
	static const uint64_t one = 1;
	int error = send(queue->signal_fd, &one, sizeof one, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno : 0;

	/* The kernel has no memory for it, send(2): in its next turn the queue tries again. To hang up while something of
	 * it is in progress would tell the client that nothing is; and when it is tried in vain for too long, then nothing
	 * more is begun. */
	if (error == ENOBUFS || error == ENOMEM) {
		queue->unsignalled = tries + 1;
		if (tries < SIGNAL_TRIES || queue->head != queue->tail)
			return true;
		queue->broken = true;
	}
	queue->signalled = arm;
	/* a client that does not read (EAGAIN) has signals enough; else it has closed its end */
	if (error && error != EAGAIN)
		shutdown(queue->signal_fd, SHUT_RDWR);
	return true;
}

bool queue_finish_jobs(struct engine_queue *queue)
{
	if (!queue->finished || queue->busy)
		return false;
	while (queue->finished) {
		struct job *job = queue->finished;

		queue->finished = job->next;
		queue_complete(queue, &job->operation, job->error);
		atomic_fetch_sub_explicit(&queue->account->in_flight, job->operation.length, memory_order_relaxed);
		job->next = queue->free_jobs;
		queue->free_jobs = job;
		queue->jobs_active--;
	}
	note_in_flight(queue);
	return true;
}

static int take_slot(struct engine *engine, struct engine_queue *queue)
{
	uint32_t slot = 0;

	while (slot < engine->slots && engine->queues[slot].queue)
		slot++;
	if (slot == engine->slots) {
		uint32_t slots = engine->slots ? 2 * engine->slots : 16;
		struct queue_slot *queues = realloc(engine->queues, slots * sizeof *queues);

		if (!queues)
			return -ENOMEM;
		for (uint32_t i = engine->slots; i < slots; i++)
			queues[i] = (struct queue_slot){0};
		engine->queues = queues;
		engine->slots = slots;
	}

	struct queue_slot *taken = &engine->queues[slot];
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};

	event.data.u64 = (uint64_t)++taken->generation << 32 | slot;
	if (epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, queue->doorbell_fd, &event) < 0)
		return -errno;
	taken->queue = queue;
	queue->slot = slot;
	engine->queues_added++;
	return 0;
}

int engine_queue_add(struct engine *engine, const struct engine_queue_options *options,
		     struct engine_queue **queue)
{
	if (!vdm_ring_entries_valid(options->entries))
		return -EINVAL;

	/* All but one of the jobs in progress have been handed out, so a worker is at each of those. */
	unsigned jobs = engine->most_threads + 1;
	struct engine_queue *q = calloc(1, sizeof *q);

	if (!q)
		return -ENOMEM;
	q->jobs = calloc(jobs, sizeof *q->jobs);
	if (!q->jobs) {
		free(q);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < jobs; i++) {
		q->jobs[i].queue = q;
		q->jobs[i].next = q->free_jobs;
		q->free_jobs = &q->jobs[i];
	}
	q->engine = engine;
	q->account = options->account;
	q->memory = options->memory;
	q->descriptors = vdm_descriptors(options->submission);
	q->client_line = options->submission;
	q->completions = vdm_completions(options->completion);
	q->daemon_line = options->completion;
	q->entries = options->entries;
	q->head = options->first_sequence;
	q->tail = options->first_sequence;
	q->priority = options->priority;
	q->doorbell_fd = options->doorbell_fd;
	q->signal_fd = options->signal_fd;
	q->violated = options->violated;
	q->over_limit = options->over_limit;
	q->context = options->context;
	/* Nobody polls it yet. relaxed; partner: the client's submit, which cannot have happened yet. */
	q->retirements = 1;
	atomic_store_explicit(&q->daemon_line->doorbell_wanted, 1, memory_order_relaxed);

	engine_lock(engine);
	int result = take_slot(engine, q);

	engine_unlock(engine);
	if (result) {
		free(q->jobs);
		free(q);
		return result;
	}
	*queue = q;
	return 0;
}

/* One attempt at ending what is in progress: 0, or -EAGAIN as long as a worker is at it. Holding the lock. */
static int try_remove(struct engine_queue *queue)
{
	queue->removed = true;
	if (queue->busy || watch_revoke(queue->engine, queue))
		return -EAGAIN;
	job_cancel(queue, -ECANCELED);
	if (queue_finish_jobs(queue))
		queue_signal(queue);
	return queue->jobs_active > 0 ? -EAGAIN : 0;
}

int engine_queue_remove(struct engine_queue *queue, bool wait, struct engine_counters *counters)
{
	struct engine *engine = queue->engine;
	int result;

	engine_lock(engine);
	while ((result = try_remove(queue)) == -EAGAIN && engine_let_go_of(engine, wait))
		;
	if (result) {
		engine_unlock(engine);
		return result;
	}
	if (queue->holding) {
		queue->holding = false;
		queue_complete(queue, &queue->held, -ECANCELED);
		note_in_flight(queue);
		queue_signal(queue);
	}
	if (queue->polled)
		scheduler_unpoll(queue);
	epoll_ctl(engine->epoll_fd, EPOLL_CTL_DEL, queue->doorbell_fd, NULL);
	engine->queues[queue->slot].queue = NULL;
	engine->queues_added--;
	engine_unlock(engine);
	if (counters)
		engine_queue_counters(queue, counters);
	free(queue->jobs);
	free(queue);
	return 0;
}

void engine_queue_counters(struct engine_queue *queue, struct engine_counters *counters)
{
	*counters = (struct engine_counters){0};
	/* relaxed; partners: queue_complete(), note_in_flight() */
	for (unsigned i = 0; i < VDM_OPCODE_COUNT; i++)
		counters->operations[i] =
			atomic_load_explicit(&queue->operations[i], memory_order_relaxed);
	counters->failed = atomic_load_explicit(&queue->failed, memory_order_relaxed);
	counters->bytes = atomic_load_explicit(&queue->bytes, memory_order_relaxed);
	counters->in_flight = atomic_load_explicit(&queue->in_flight, memory_order_relaxed);
}
