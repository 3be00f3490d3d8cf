/* SPDX-License-Identifier: BSD-3-Clause */
#include "reaper.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define MAX_THREADS       16
#define THREADS_PER_USER  4

/* A user may have so much waiting; and so much if nothing of it has come to an end for a while. */
#define MOST_WAITING 1024
#define MOST_STUCK   64
#define STUCK_NS     2000000000ull

/* Descriptors of one user that may wait; see bury(). */
#define MOST_DESCRIPTORS 256

/* At the end, what is stuck is left to the kernel, which does not wait when a process exits (socket(7)). */
#define PATIENCE_MS 200

STAILQ_HEAD(reaping_list, reaping);

struct reaper {
	pthread_mutex_t lock;
	pthread_cond_t work, idle;
	struct reaping_list waiting, done;
	unsigned threads, free_threads;
	struct reaper_share nobodys;
	bool stopping;
	int done_fd;                 /* eventfd: look at `done` */
	sd_event_source *on_done;
};

/* Descriptors that the user has passed, of those that are to be closed. */
static unsigned passed(const struct reaping *reaping)
{
	return (unsigned)reaping->charge.amount[RESOURCE_DESCRIPTORS];
}

static struct reaper_share *share_of(struct reaper *reaper, const struct reaping *reaping)
{
	return reaping->user ? &reaping->user->reaper_share : &reaper->nobodys;
}

/* The first whose user has not too many threads already. Holding the lock. */
static struct reaping *take(struct reaper *reaper)
{
	struct reaping *reaping;

	STAILQ_FOREACH(reaping, &reaper->waiting, entry) {
		struct reaper_share *share = share_of(reaper, reaping);

		if (share->threads >= THREADS_PER_USER)
			continue;
		STAILQ_REMOVE(&reaper->waiting, reaping, reaping, entry);
		share->threads++;
		share->descriptors -= passed(reaping);
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
			share_of(reaper, reaping)->threads--;
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

/* It is done: give its user back. On the event loop's thread. */
static void finish(struct reaping *reaping)
{
	struct user *user = reaping->user;

	if (user) {
		user->reaping--;
		charge_release(&reaping->charge);
		user->reaped_ns = monotonic_ns();
		user_put(user);
	}
	free(reaping);
}

/* The same for all that are done. */
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
		finish(reaping);
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

/* Descriptors that are given up all at once. */
struct burial {
	sem_t copied, closed;
	int error;
	unsigned count;
	int fds[]; /* ascending */
};

/*
 * On a thread of its own: with a table of descriptors of its own, in which the files stay open until it ends. Nobody
 * waits for that; and nothing lingers, as when a process exits (socket(7)).
 */
static void *undertake(void *argument)
{
	struct burial *burial = argument;
	unsigned next = 0;

	burial->error = unshare(CLONE_FILES) < 0 ? errno : 0;
	bool alone = !burial->error;

	sem_post(&burial->copied);
	while (sem_wait(&burial->closed) < 0)
		;
	/* what else there is in the table does not stay open for as long as those may take */
	for (unsigned i = 0; alone && i < burial->count; next = (unsigned)burial->fds[i++] + 1)
		if ((unsigned)burial->fds[i] > next)
			syscall(SYS_close_range, next, (unsigned)burial->fds[i] - 1, 0);
	if (alone)
		syscall(SYS_close_range, next, ~0u, 0);
	sem_destroy(&burial->copied);
	sem_destroy(&burial->closed);
	free(burial);
	return NULL;
}

static int ascending(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Take what has been passed from the list: as many descriptors as the share counts. Holding the lock. */
static void take_descriptors(struct reaper *reaper, const struct reaper_share *share, struct reaping_list *taken)
{
	struct reaping *reaping, *next;

	for (reaping = STAILQ_FIRST(&reaper->waiting); reaping; reaping = next) {
		next = STAILQ_NEXT(reaping, entry);
		if (share_of(reaper, reaping) != share || passed(reaping) == 0)
			continue;
		STAILQ_REMOVE(&reaper->waiting, reaping, reaping, entry);
		STAILQ_INSERT_TAIL(taken, reaping, entry);
	}
}

/*
 * A user has so much waiting behind what is slow that others would come to feel it: close it here, while another thread
 * has the same files open and closes them last. What cannot be done so goes on waiting. Holding the lock.
 */
static void bury(struct reaper *reaper, struct reaper_share *share)
{
	struct burial *burial = calloc(1, sizeof *burial + share->descriptors * sizeof(int));
	struct reaping_list taken = STAILQ_HEAD_INITIALIZER(taken);
	sigset_t all, before;
	struct reaping *reaping;
	pthread_t thread;

	if (!burial)
		return;
	take_descriptors(reaper, share, &taken);
	STAILQ_FOREACH(reaping, &taken, entry) {
		memcpy(burial->fds + burial->count, reaping->fds, reaping->fd_count * sizeof(int));
		burial->count += reaping->fd_count;
	}
	qsort(burial->fds, burial->count, sizeof(int), ascending);
	sem_init(&burial->copied, 0, 0);
	sem_init(&burial->closed, 0, 0);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(&thread, NULL, undertake, burial);

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error) {
		free(burial);
		STAILQ_CONCAT(&reaper->waiting, &taken);
		return;
	}
	pthread_detach(thread);
	while (sem_wait(&burial->copied) < 0)
		;
	if (burial->error) {
		STAILQ_CONCAT(&reaper->waiting, &taken);
	} else {
		for (unsigned i = 0; i < burial->count; i++)
			close(burial->fds[i]);
		share->descriptors -= burial->count;
		while ((reaping = STAILQ_FIRST(&taken))) {
			STAILQ_REMOVE_HEAD(&taken, entry);
			finish(reaping);
		}
	}
	sem_post(&burial->closed);
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
		user_ref(reaping->user);
	}
	pthread_mutex_lock(&reaper->lock);
	struct reaper_share *share = share_of(reaper, reaping);

	STAILQ_INSERT_TAIL(&reaper->waiting, reaping, entry);
	share->descriptors += passed(reaping);
	if (share->descriptors > MOST_DESCRIPTORS)
		bury(reaper, share);
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
	if (reaping) {
		charge_descriptors(&reaping->charge, user ? &user->book : NULL, reaping->fd_count);
		reaper_submit(reaper, reaping);
	}
}

/* Whether there is a message in it, which may be empty and yet bring descriptors: with SO_PASSCRED each has a control
 * message, and that does not fit here (unix(7), recvmsg(2)). */
bool reaper_finds_messages(int socket)
{
	struct msghdr message = {0};

	return setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)) < 0 ||
	       recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT) != 0 || (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC));
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
