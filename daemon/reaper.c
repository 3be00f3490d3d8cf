/* SPDX-License-Identifier: BSD-3-Clause */
#include "reaper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

#define MAX_THREADS       16
#define THREADS_PER_USER  4

/* A user may have so much waiting; and so much if nothing of it has come to an end for a while. */
#define MOST_WAITING 1024
#define MOST_STUCK   64
#define STUCK_NS     2000000000ull

/* At the end, what is stuck is left to the kernel, which does not wait when a process exits (socket(7)). */
#define PATIENCE_MS 200

STAILQ_HEAD(reaping_list, reaping);

struct reaper {
	pthread_mutex_t lock;
	pthread_cond_t work, idle;
	struct reaping_list waiting, done;
	unsigned threads, free_threads;
	unsigned nobodys_threads;    /* as struct user's reaper_threads */
	bool stopping;
	int done_fd;                 /* eventfd: look at `done` */
	sd_event_source *on_done;
};

static unsigned *threads_of(struct reaper *reaper, const struct reaping *reaping)
{
	return reaping->user ? &reaping->user->reaper_threads : &reaper->nobodys_threads;
}

/* The first whose user has not too many threads already. Holding the lock. */
static struct reaping *take(struct reaper *reaper)
{
	struct reaping *reaping;

	STAILQ_FOREACH(reaping, &reaper->waiting, entry) {
		unsigned *threads = threads_of(reaper, reaping);

		if (*threads >= THREADS_PER_USER)
			continue;
		STAILQ_REMOVE(&reaper->waiting, reaping, reaping, entry);
		++*threads;
		return reaping;
	}
	return NULL;
}

static void reap(struct reaping *reaping)
{
	for (unsigned i = 0; i < reaping->memory_count; i++) {
		void *base = reaping->memory[i].base;
		size_t size = reaping->memory[i].size;

		/* punching through a mapping needs one that may be written, madvise(2) */
		if (reaping->memory[i].empty && mprotect(base, size, PROT_READ | PROT_WRITE) == 0)
			madvise(base, size, MADV_REMOVE);
		munmap(base, size);
	}
	for (unsigned i = 0; i < reaping->fd_count; i++)
		if (reaping->fds[i] >= 0)
			close(reaping->fds[i]);
}

static void *reaper_main(void *argument)
{
	struct reaper *reaper = argument;

	pthread_mutex_lock(&reaper->lock);
	for (;;) {
		struct reaping *reaping = take(reaper);

		if (reaping) {
			pthread_mutex_unlock(&reaper->lock);
			reap(reaping);
			pthread_mutex_lock(&reaper->lock);
			--*threads_of(reaper, reaping);
			STAILQ_INSERT_TAIL(&reaper->done, reaping, entry);
			eventfd_write(reaper->done_fd, 1);
			continue;
		}
		if (reaper->stopping || reaper->free_threads > 0)
			break; /* one that waits is enough */
		reaper->free_threads++;
		pthread_cond_wait(&reaper->work, &reaper->lock);
		reaper->free_threads--;
	}
	reaper->threads--;
	pthread_cond_signal(&reaper->idle);
	pthread_mutex_unlock(&reaper->lock);
	return NULL;
}

/* Free what is done, and give its users back. On the event loop's thread. */
static void collect(struct reaper *reaper)
{
	for (;;) {
		pthread_mutex_lock(&reaper->lock);
		struct reaping *reaping = STAILQ_FIRST(&reaper->done);

		if (reaping)
			STAILQ_REMOVE_HEAD(&reaper->done, entry);
		pthread_mutex_unlock(&reaper->lock);
		if (!reaping)
			return;
		if (reaping->user) {
			reaping->user->reaping--;
			user_release(reaping->user, RESOURCE_DESCRIPTORS, reaping->fd_count);
			reaping->user->reaped_ns = monotonic_ns();
			user_put(reaping->user);
		}
		free(reaping);
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
	end.tv_nsec += PATIENCE_MS * 1000000;
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

struct reaping *reaping_new(struct user *user, unsigned fds)
{
	struct reaping *reaping = calloc(1, sizeof *reaping + fds * sizeof(int));

	if (reaping)
		reaping->user = user;
	return reaping;
}

/* Another thread, unless there is one that waits. Holding the lock. */
static void engage_thread(struct reaper *reaper)
{
	sigset_t all, before;
	pthread_t thread;

	if (reaper->free_threads > 0) {
		pthread_cond_signal(&reaper->work);
		return;
	}
	if (reaper->threads == MAX_THREADS)
		return; /* one of them will come to it */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, NULL, reaper_main, reaper) == 0) {
		pthread_detach(thread);
		reaper->threads++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void reaper_submit(struct reaper *reaper, struct reaping *reaping)
{
	if (reaping->user) {
		if (reaping->user->reaping++ == 0)
			reaping->user->reaped_ns = monotonic_ns();
		reaping->user->references++;
		/* whether he may or not: they are there */
		reaping->user->used[RESOURCE_DESCRIPTORS] += reaping->fd_count;
	}
	pthread_mutex_lock(&reaper->lock);
	STAILQ_INSERT_TAIL(&reaper->waiting, reaping, entry);
	engage_thread(reaper);
	pthread_mutex_unlock(&reaper->lock);
}

bool reaper_overloaded(const struct user *user)
{
	return user->reaping > MOST_WAITING ||
	       (user->reaping > MOST_STUCK && monotonic_ns() - user->reaped_ns > STUCK_NS);
}

void reaper_close(struct reaper *reaper, struct user *user, int *fds, unsigned count)
{
	struct reaping *reaping = NULL;

	for (unsigned i = 0; i < count; i++) {
		if (fds[i] < 0)
			continue;
		if (!reaping)
			reaping = reaping_new(user, count - i);
		if (reaping)
			reaping->fds[reaping->fd_count++] = fds[i];
		else
			close(fds[i]);
		fds[i] = -1;
	}
	if (reaping)
		reaper_submit(reaper, reaping);
}

/* Whether there is a message in it, which may be empty and yet bring descriptors: with SO_PASSCRED each has a control
 * message, and that does not fit here (unix(7), recvmsg(2)). */
static bool has_messages(int socket)
{
	struct msghdr message = {0};

	return setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)) < 0 ||
	       recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT) != 0 || (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC));
}

void reaper_close_socket(struct reaper *reaper, struct user *user, int socket)
{
	if (socket < 0)
		return;
	if (has_messages(socket))
		reaper_close(reaper, user, &socket, 1);
	else
		close(socket);
}
