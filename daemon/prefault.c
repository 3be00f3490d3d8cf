/* SPDX-License-Identifier: BSD-3-Clause */
#include "prefault.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "detached_thread.h"

/* Linux 5.14; older C libraries do not know them. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

/* Half a millisecond of work, during which other threads cannot map or unmap memory. */
#define PIECE ((size_t)2 << 20)

/* How long the daemon's end waits for the thread. A thread that is stuck is left to the kernel. */
#define PATIENCE_NS 200000000

/* Each job has a descriptor. The pages of further regions are mapped when they are touched. */
#define MOST_JOBS 64

#define BLOCK 512 /* st_blocks of stat(2) counts these */

struct prefault_job {
	TAILQ_ENTRY(prefault_job) entry; /* prefault::jobs, unless in_progress or finished */
	char *base;
	size_t size, done;
	int fd;
	bool writable;
	bool in_progress; /* the thread maps a piece, without the lock */
	bool finished;    /* all that can be mapped is */
	bool abandoned;   /* the thread has to unmap the memory and free the job */
};

struct prefault {
	pthread_mutex_t lock;
	pthread_cond_t work, ended;
	TAILQ_HEAD(, prefault_job) jobs;
	unsigned count;
	bool running, stopping;
};

/* Map one piece. Returns whether there is more to map. */
static bool populate(struct prefault_job *job)
{
	size_t left = job->size - job->done, length = left < PIECE ? left : PIECE;
	struct stat status;

	/* Pages that were punched out since would be charged to this process. */
	if (fstat(job->fd, &status) < 0 || status.st_blocks * BLOCK < status.st_size)
		return false;
	if (madvise(job->base + job->done, length,
		    job->writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) < 0)
		return false;
	job->done += length;
	return job->done < job->size;
}

static void *prefault_main(void *argument)
{
	struct prefault *prefault = argument;

	pthread_setname_np(pthread_self(), "vdm-prefault");
	/* Linux sets it for this thread alone: setpriority(2), BUGS */
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19);
	pthread_mutex_lock(&prefault->lock);
	while (!prefault->stopping) {
		struct prefault_job *job = TAILQ_FIRST(&prefault->jobs);

		if (!job) {
			pthread_cond_wait(&prefault->work, &prefault->lock);
			continue;
		}
		TAILQ_REMOVE(&prefault->jobs, job, entry);
		job->in_progress = true;
		pthread_mutex_unlock(&prefault->lock);
		bool more = populate(job);

		pthread_mutex_lock(&prefault->lock);
		job->in_progress = false;
		if (more && !job->abandoned) {
			TAILQ_INSERT_TAIL(&prefault->jobs, job, entry);
			continue;
		}
		prefault->count--;
		close(job->fd); /* of a memfd: closing that waits for no other process */
		job->finished = true;
		if (job->abandoned) {
			pthread_mutex_unlock(&prefault->lock);
			munmap(job->base, job->size);
			free(job);
			pthread_mutex_lock(&prefault->lock);
		}
	}
	prefault->running = false;
	pthread_cond_signal(&prefault->ended);
	pthread_mutex_unlock(&prefault->lock);
	return NULL;
}

int prefault_new(struct prefault **out)
{
	struct prefault *prefault = calloc(1, sizeof *prefault);
	pthread_condattr_t monotonic;

	if (!prefault)
		return -ENOMEM;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	TAILQ_INIT(&prefault->jobs);
	pthread_mutex_init(&prefault->lock, NULL);
	pthread_cond_init(&prefault->work, NULL);
	pthread_cond_init(&prefault->ended, &monotonic);
	pthread_condattr_destroy(&monotonic);
	*out = prefault;
	return 0;
}

void prefault_free(struct prefault *prefault)
{
	struct timespec end;

	if (!prefault)
		return;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += PATIENCE_NS;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	pthread_mutex_lock(&prefault->lock);
	prefault->stopping = true;
	pthread_cond_signal(&prefault->work);
	while (prefault->running &&
	       pthread_cond_timedwait(&prefault->ended, &prefault->lock, &end) != ETIMEDOUT)
		;
	bool stuck = prefault->running;

	pthread_mutex_unlock(&prefault->lock);
	if (stuck)
		return; /* the thread uses this until the process exits */
	pthread_cond_destroy(&prefault->work);
	pthread_cond_destroy(&prefault->ended);
	pthread_mutex_destroy(&prefault->lock);
	free(prefault);
}

/* Start the thread if it does not run. Returns whether it does. Holding the lock. */
static bool start(struct prefault *prefault)
{
	if (!prefault->running)
		prefault->running = detached_thread_start(prefault_main, prefault) == 0;
	return prefault->running;
}

struct prefault_job *prefault_begin(struct prefault *prefault, void *base, size_t size,
				    bool writable, int fd)
{
	struct prefault_job *job = calloc(1, sizeof *job);

	if (!job)
		return NULL;
	job->base = base;
	job->size = size;
	job->writable = writable;
	job->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	pthread_mutex_lock(&prefault->lock);
	if (job->fd < 0 || prefault->count == MOST_JOBS || !start(prefault)) {
		pthread_mutex_unlock(&prefault->lock);
		if (job->fd >= 0)
			close(job->fd);
		free(job);
		return NULL;
	}
	prefault->count++;
	TAILQ_INSERT_TAIL(&prefault->jobs, job, entry);
	pthread_cond_signal(&prefault->work);
	pthread_mutex_unlock(&prefault->lock);
	return job;
}

bool prefault_end(struct prefault *prefault, struct prefault_job *job)
{
	if (!job)
		return true;
	pthread_mutex_lock(&prefault->lock);
	bool ours = !job->in_progress;

	job->abandoned = true;
	if (ours && !job->finished) {
		TAILQ_REMOVE(&prefault->jobs, job, entry);
		prefault->count--;
		close(job->fd);
	}
	pthread_mutex_unlock(&prefault->lock);
	if (ours)
		free(job);
	return ours;
}
