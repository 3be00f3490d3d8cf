/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Large operations, cut into pieces: so that several workers share one, and so that nobody waits for
 * longer than one piece behind somebody's gigabyte.
 */
#include <errno.h>

#include "internal.h"
#include "memory.h"

/* Called by the owner of the queue, which has no job being handed out. */
int job_begin(struct engine_queue *queue, const struct operation *operation)
{
	struct job *job = queue->free_jobs; /* never empty, see engine_queue_add() */
	struct engine_account *account = queue->account;
	uint64_t before = atomic_fetch_add_explicit(&account->in_flight, operation->length, memory_order_relaxed);
	uint64_t most = atomic_load_explicit(&account->most_in_flight, memory_order_relaxed);

	/* a sum of lengths of regions that are mapped: it cannot wrap */
	if (before + operation->length > most) {
		atomic_fetch_sub_explicit(&account->in_flight, operation->length, memory_order_relaxed);
		return -EDQUOT;
	}

	queue->free_jobs = job->next;
	queue->jobs_active++;
	job->operation = *operation;
	job->given = 0;
	job->running = 0;
	job->error = 0;
	job->closed = false;
	job->serial = operation_overlaps(operation);
	job->backward = job->serial && operation->destination > operation->source;
	queue->handing_out = job;
	return 0;
}

/* Hand out nothing more of it: its queue may go on to the next operation. */
static void job_close(struct job *job)
{
	job->closed = true;
	job->queue->handing_out = NULL;
}

struct piece job_take_piece(struct engine_queue *queue, size_t most)
{
	struct job *job = queue->handing_out;
	size_t left = job->operation.length - job->given;
	struct piece piece = {.job = job, .length = left < most || queue->engine->kernels.own ? left : most};

	piece.offset = job->backward ? left - piece.length : job->given;
	job->given += piece.length;
	piece.given = job->given;
	job->running++;
	if (job->given == job->operation.length)
		job_close(job);
	return piece;
}

bool job_return_rest(const struct piece *piece, size_t done)
{
	struct job *job = piece->job;
	struct engine_queue *queue = job->queue;

	if (job->error)
		return true; /* it need not be moved at all */
	if (job->given != piece->given)
		return false; /* others are at what comes after it */
	if (queue->memory->paused)
		return false; /* who removes a region has ended all users of it that may yet begin */
	if (job->closed) {
		if (queue->busy || queue->handing_out)
			return false; /* the queue has gone on */
		job->closed = false;
		queue->handing_out = job;
	}
	job->given -= piece->length - done;
	return true;
}

static void job_finish(struct job *job)
{
	struct engine_queue *queue = job->queue;

	job->next = queue->finished;
	queue->finished = job;
}

void job_piece_done(struct job *job, int32_t error)
{
	job->running--;
	if (error && !job->error)
		job->error = error;
	/* Once it is closed, queue->handing_out belongs to who runs a batch of the queue. */
	if (job->error && !job->closed)
		job_close(job); /* the rest need not be moved: the operation has failed */
	if (job->running == 0 && job->closed)
		job_finish(job);
}

void job_cancel(struct engine_queue *queue, int32_t error)
{
	struct job *job = queue->handing_out;

	if (!job)
		return;
	job->error = error;
	job_close(job);
	if (job->running == 0)
		job_finish(job);
}
