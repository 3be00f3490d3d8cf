/* SPDX-License-Identifier: BSD-3-Clause */
#include "reaper.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "detached_close.h"
#include "detached_thread.h"
#include "user.h"

#define MAX_THREADS      16
#define THREADS_PER_USER 4

/* Most jobs of a user: at any time, and while none of them has been finished for STUCK_NS. */
#define MOST_JOBS  1024
#define MOST_STUCK 64
#define STUCK_NS   2000000000ull

/* Most descriptors of one user that wait. Then close_by_copy() closes them. */
#define MOST_DESCRIPTORS 256

/*
 * How long the daemon's end waits. What is stuck is left to the kernel, which does not linger at
 * exit (socket(7)).
 */
#define PATIENCE_MS 200

/* What is done together, in this order: pages given back, memory unmapped, descriptors closed. */
struct reaper_job {
	STAILQ_ENTRY(reaper_job) entry; /* reaper::waiting, then reaper::done */
	struct user *user;              /* NULL: none */
	struct {
		void *base;
		size_t size;
		bool empty;
	} memory[2];
	unsigned memory_count;
	struct charge charge; /* for descriptors that the user has passed */
	unsigned fd_count;
	int fds[];
};

STAILQ_HEAD(job_list, reaper_job);

struct reaper {
	pthread_mutex_t lock;
	pthread_cond_t work, idle;
	struct job_list waiting, done;
	unsigned threads, free_threads;
	struct reaper_share unowned;
	bool stopping;
	int done_fd; /* eventfd: look at `done` */
	sd_event_source *on_done;
};

/* Descriptors that the user has passed, of those that are to be closed. */
static unsigned passed(const struct reaper_job *job)
{
	return (unsigned)job->charge.amount[RESOURCE_DESCRIPTORS];
}

static struct reaper_share *share_of(struct reaper *reaper, const struct reaper_job *job)
{
	return job->user ? &job->user->reaper_share : &reaper->unowned;
}

/* Take the first job whose user does not have its share of threads already. Holding the lock. */
static struct reaper_job *take(struct reaper *reaper)
{
	struct reaper_job *job;

	STAILQ_FOREACH(job, &reaper->waiting, entry) {
		struct reaper_share *share = share_of(reaper, job);

		if (share->threads >= THREADS_PER_USER)
			continue;
		STAILQ_REMOVE(&reaper->waiting, job, reaper_job, entry);
		share->threads++;
		share->descriptors -= passed(job);
		return job;
	}
	return NULL;
}

static void do_job(struct reaper_job *job)
{
	for (unsigned i = 0; i < job->memory_count; i++) {
		void *base = job->memory[i].base;
		size_t size = job->memory[i].size;

		/* MADV_REMOVE needs a writable mapping, madvise(2) */
		if (job->memory[i].empty && mprotect(base, size, PROT_READ | PROT_WRITE) == 0)
			madvise(base, size, MADV_REMOVE);
		munmap(base, size);
	}
	for (unsigned i = 0; i < job->fd_count; i++)
		close(job->fds[i]);
}

static void *reaper_main(void *argument)
{
	struct reaper *reaper = argument;

	pthread_mutex_lock(&reaper->lock);
	for (;;) {
		struct reaper_job *job = take(reaper);

		if (job) {
			pthread_mutex_unlock(&reaper->lock);
			do_job(job);
			pthread_mutex_lock(&reaper->lock);
			share_of(reaper, job)->threads--;
			STAILQ_INSERT_TAIL(&reaper->done, job, entry);
			eventfd_write(reaper->done_fd, 1);
			continue;
		}
		if (reaper->stopping || reaper->free_threads > 0)
			break; /* one waiting thread is enough */
		reaper->free_threads++;
		pthread_cond_wait(&reaper->work, &reaper->lock);
		reaper->free_threads--;
	}
	reaper->threads--;
	pthread_cond_signal(&reaper->idle);
	pthread_mutex_unlock(&reaper->lock);
	return NULL;
}

/* A job is done: release its charge and its user. On the event loop's thread. */
static void finish(struct reaper_job *job)
{
	struct user *user = job->user;

	if (user) {
		user->reaper_jobs--;
		charge_release(&job->charge);
		user->reaper_progress_ns = monotonic_ns();
		user_put(user);
	}
	free(job);
}

/* Finish all jobs that threads have done. */
static void collect(struct reaper *reaper)
{
	for (;;) {
		pthread_mutex_lock(&reaper->lock);
		struct reaper_job *job = STAILQ_FIRST(&reaper->done);

		if (job)
			STAILQ_REMOVE_HEAD(&reaper->done, entry);
		pthread_mutex_unlock(&reaper->lock);
		if (!job)
			return;
		finish(job);
	}
}

static int on_done(sd_event_source *source, int fd, uint32_t events, void *context)
{
	eventfd_t count;

	(void)source;
	(void)events;
	eventfd_read(fd, &count);
	collect(context);
	return 0;
}

int reaper_new(sd_event *event, struct reaper **out)
{
	struct reaper *reaper = calloc(1, sizeof *reaper);
	pthread_condattr_t attributes;

	if (!reaper)
		return -ENOMEM;
	reaper->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	int result = reaper->done_fd < 0 ? -errno
					 : sd_event_add_io(event, &reaper->on_done, reaper->done_fd,
							   EPOLLIN, on_done, reaper);

	if (result < 0) {
		if (reaper->done_fd >= 0)
			close(reaper->done_fd);
		free(reaper);
		return result;
	}
	STAILQ_INIT(&reaper->waiting);
	STAILQ_INIT(&reaper->done);
	pthread_mutex_init(&reaper->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&reaper->work, &attributes);
	pthread_cond_init(&reaper->idle, &attributes);
	pthread_condattr_destroy(&attributes);
	*out = reaper;
	return 0;
}

void reaper_free(struct reaper *reaper)
{
	struct timespec end;

	if (!reaper)
		return;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += PATIENCE_MS * 1000000L;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	pthread_mutex_lock(&reaper->lock);
	reaper->stopping = true;
	pthread_cond_broadcast(&reaper->work);
	while (reaper->threads > 0 &&
	       pthread_cond_timedwait(&reaper->idle, &reaper->lock, &end) != ETIMEDOUT)
		;
	bool stuck = reaper->threads > 0;

	pthread_mutex_unlock(&reaper->lock);
	collect(reaper);
	sd_event_source_disable_unref(reaper->on_done);
	if (stuck)
		return; /* its threads go on using it until the process exits */
	close(reaper->done_fd);
	pthread_cond_destroy(&reaper->work);
	pthread_cond_destroy(&reaper->idle);
	pthread_mutex_destroy(&reaper->lock);
	free(reaper);
}

struct reaper_job *reaper_job_new(struct user *user, unsigned fds)
{
	struct reaper_job *job = calloc(1, sizeof *job + fds * sizeof(int));

	if (job)
		job->user = user;
	return job;
}

void reaper_job_add_memory(struct reaper_job *job, void *base, size_t size, bool empty)
{
	job->memory[job->memory_count].base = base;
	job->memory[job->memory_count].size = size;
	job->memory[job->memory_count++].empty = empty;
}

void reaper_job_add_fd(struct reaper_job *job, int fd)
{
	job->fds[job->fd_count++] = fd;
}

/*
 * Move the jobs with a user's descriptors from one list to another, and copy these descriptors.
 * Holding the lock.
 */
static unsigned take_passed(struct reaper *reaper, const struct reaper_share *share,
			    struct job_list *taken, int *fds)
{
	struct reaper_job *job, *next;
	unsigned count = 0;

	for (job = STAILQ_FIRST(&reaper->waiting); job; job = next) {
		next = STAILQ_NEXT(job, entry);
		if (share_of(reaper, job) != share || passed(job) == 0)
			continue;
		STAILQ_REMOVE(&reaper->waiting, job, reaper_job, entry);
		STAILQ_INSERT_TAIL(taken, job, entry);
		memcpy(fds + count, job->fds, job->fd_count * sizeof *fds);
		count += job->fd_count;
	}
	return count;
}

/*
 * A user has so many descriptors waiting behind slow ones that other users would run out of them:
 * close these all at once. If that fails they go on waiting. Holding the lock.
 */
static void close_by_copy(struct reaper *reaper, struct reaper_share *share)
{
	int *fds = malloc(share->descriptors * sizeof *fds);
	struct job_list taken = STAILQ_HEAD_INITIALIZER(taken);
	struct reaper_job *job;

	if (!fds)
		return;

	unsigned count = take_passed(reaper, share, &taken, fds);

	if (detached_close(fds, count) < 0) {
		STAILQ_CONCAT(&reaper->waiting, &taken);
	} else {
		share->descriptors -= count;
		while ((job = STAILQ_FIRST(&taken))) {
			STAILQ_REMOVE_HEAD(&taken, entry);
			finish(job);
		}
	}
	free(fds);
}

/* Have a thread look at the list: one that waits, or a new one. Holding the lock. */
static void engage_thread(struct reaper *reaper)
{
	if (reaper->free_threads > 0)
		pthread_cond_signal(&reaper->work);
	else if (reaper->threads < MAX_THREADS && detached_thread_start(reaper_main, reaper) == 0)
		reaper->threads++;
	/* else a thread that is busy will look at it */
}

void reaper_submit(struct reaper *reaper, struct reaper_job *job)
{
	if (job->user) {
		if (job->user->reaper_jobs++ == 0)
			job->user->reaper_progress_ns = monotonic_ns();
		user_ref(job->user);
	}
	pthread_mutex_lock(&reaper->lock);
	struct reaper_share *share = share_of(reaper, job);

	STAILQ_INSERT_TAIL(&reaper->waiting, job, entry);
	share->descriptors += passed(job);
	if (share->descriptors > MOST_DESCRIPTORS)
		close_by_copy(reaper, share);
	engage_thread(reaper);
	pthread_mutex_unlock(&reaper->lock);
}

bool reaper_overloaded(const struct user *user)
{
	return user->reaper_jobs > MOST_JOBS ||
	       (user->reaper_jobs > MOST_STUCK &&
		monotonic_ns() - user->reaper_progress_ns > STUCK_NS);
}

void reaper_close(struct reaper *reaper, struct user *user, int *fds, unsigned count)
{
	struct reaper_job *job = NULL;

	for (unsigned i = 0; i < count; i++) {
		if (fds[i] < 0)
			continue;
		if (!job)
			job = reaper_job_new(user, count - i);
		if (job)
			reaper_job_add_fd(job, fds[i]);
		else
			close(fds[i]);
		fds[i] = -1;
	}
	if (job) {
		charge_descriptors(&job->charge, user ? &user->book : NULL, job->fd_count);
		reaper_submit(reaper, job);
	}
}

/*
 * An empty message may bring descriptors, and looks like the end of the connection. With
 * SO_PASSCRED each message has a control message, too, for which there is no room here, and that is
 * reported (unix(7), recvmsg(2)).
 */
bool reaper_finds_messages(int socket)
{
	struct msghdr message = {0};

	return setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)) < 0 ||
	       recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT) != 0 ||
	       (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC));
}

void reaper_close_socket(struct reaper *reaper, struct user *user, int socket)
{
	if (socket < 0)
		return;
	if (reaper_finds_messages(socket))
		reaper_close(reaper, user, &socket, 1);
	else
		close(socket);
}
