/* SPDX-License-Identifier: BSD-3-Clause */
#include "files.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend.h"
#include "file_pool.h"
#include "file_sync.h"
#include "file_uring.h"

#define DEFAULT_THREADS 4

/* How soon to try again when the kernel has not taken what was to be submitted. */
#define RETRY_MS 10

/* A part of a file that has been added. */
struct part {
	uintptr_t begin;
	uint64_t length;
	uint64_t offset; /* in the file */
	int fd;
	uint64_t number; /* of parts that had been added before */
	bool writable, reserved;
	struct file_inode *inode;
};

struct files {
	struct backend backend;
	pthread_rwlock_t parts_lock;
	struct part *parts; /* by address */
	size_t count, capacity;
	uint64_t added; /* so far */

	pthread_mutex_t mutex; /* guards the rest, and all that is in progress */
	LIST_HEAD(, file_inode) inodes;
	struct file_pool pool;
	struct file_uring uring;
	struct files_counters *counters; /* the owner's, or these: */
	struct files_counters own_counters;
	int without_uring; /* 0, or why it is not used: a negative errno */
	pthread_t reaper;  /* of what io_uring finishes later; it waits here for there to be any */
	pthread_cond_t in_progress;
	bool reaper_waits, stopping;
};

/* An operation's ranges. The parts stay while the operation is in progress. */
struct sides {
	struct part destination, source;
	bool to_file, from_file;
};

static bool find(const struct files *files, const void *address, size_t length, struct part *part)
{
	const uintptr_t begin = (uintptr_t)address;
	size_t low = 0, high = files->count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		const struct part *p = &files->parts[middle];

		if (begin < p->begin) {
			high = middle;
		} else if (begin - p->begin >= p->length) {
			low = middle + 1;
		} else {
			*part = *p;
			return length <= p->length - (begin - p->begin);
		}
	}
	return false;
}

static struct sides sides_of(struct files *files, const struct operation *operation)
{
	struct sides sides = {0};

	pthread_rwlock_rdlock(&files->parts_lock);
	sides.to_file = find(files, operation->destination, operation->length, &sides.destination);
	sides.from_file = (operation->facts & OP_SOURCE) &&
			  find(files, operation->source, operation->length, &sides.source);
	pthread_rwlock_unlock(&files->parts_lock);
	return sides;
}

static bool files_supports(const struct backend *backend, const struct operation *operation)
{
	/* the lock is what is written */
	const struct sides sides = sides_of((struct files *)(uintptr_t)backend, operation);

	return sides.to_file || sides.from_file;
}

static uint64_t position_in(const struct part *part, const void *address)
{
	return part->offset + ((uintptr_t)address - part->begin);
}

static void set_source(struct file_work *work, const struct operation *operation,
		       const struct sides *sides)
{
	work->source_fd = sides->source.fd;
	work->source = position_in(&sides->source, operation->source);
	work->backward = sides->source.inode == sides->destination.inode &&
			 work->position > work->source &&
			 work->position - work->source < work->left;
}

static void describe(struct file_work *work, const struct operation *operation,
		     const struct sides *sides)
{
	const struct part *part = sides->to_file ? &sides->destination : &sides->source;

	work->fd = part->fd;
	work->part = part->number;
	work->inode = part->inode;
	work->left = operation->length;
	work->fill = operation->fill;
	if (!sides->to_file) {
		work->action = FILE_READ;
		work->memory = operation->destination;
		work->position = position_in(part, operation->source);
		return;
	}
	work->position = position_in(part, operation->destination);
	work->durable = operation->flags & VDM_DESCRIPTOR_DURABLE;
	if (!(operation->facts & OP_WRITES)) {
		work->action = FILE_SYNC;
		work->left = 0;
		work->durable = true;
	} else if (!part->writable) {
		work->error = -EACCES;
	} else if (sides->from_file) {
		work->action = FILE_COPY;
		set_source(work, operation, sides);
	} else if (operation->facts & OP_SOURCE) {
		work->action = FILE_WRITE;
		work->memory = (char *)(uintptr_t)operation->source;
	} else {
		work->action = FILE_FILL;
	}
}

static void add(_Atomic uint64_t *counter, uint64_t more)
{
	/* relaxed; partners: the readers of struct files_counters */
	atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

/* Append to `finished` what cannot be done so. */
static void give_to_pool(struct files *files, struct file_work *work, struct file_works *finished)
{
	const int result = file_pool_push(&files->pool, work);

	if (result) {
		work->error = result;
		STAILQ_INSERT_TAIL(finished, work, entry);
	}
}

/* Append to `finished` what io_uring has finished. */
static void reap(struct files *files, struct file_works *finished)
{
	struct file_works given_up = STAILQ_HEAD_INITIALIZER(given_up);
	struct file_work *work;

	file_uring_reap(&files->uring, finished, &given_up);
	while ((work = STAILQ_FIRST(&given_up))) {
		STAILQ_REMOVE_HEAD(&given_up, entry);
		give_to_pool(files, work, finished);
	}
}

/* Append to `finished` what is finished when that has been begun. */
static void begin(struct files *files, struct file_work *work, struct file_works *finished)
{
	if (files->without_uring || !file_uring_takes(&files->uring, work) ||
	    file_uring_begin(&files->uring, work)) {
		give_to_pool(files, work, finished);
		return;
	}
	reap(files, finished);
	if (files->reaper_waits && files->uring.in_progress > 0)
		pthread_cond_signal(&files->in_progress);
}

/*
 * What is finished here may have to be synced, and a sync finishes what waited for it. Append to
 * `complete` what is complete.
 */
static void settle(struct files *files, struct file_works *finished, struct file_works *complete)
{
	struct file_work *work;

	while ((work = STAILQ_FIRST(finished))) {
		struct file_work *sync = NULL;

		STAILQ_REMOVE_HEAD(finished, entry);
		if (!work->request) {
			add(&files->counters->syncs, 1);
			sync = file_sync_end(work->inode, complete);
		} else if (work->durable && !work->error) {
			sync = file_sync_join(work->inode, work);
		} else {
			STAILQ_INSERT_TAIL(complete, work, entry);
		}
		if (sync)
			begin(files, sync, finished);
	}
}

static void count_done(struct files *files, const struct file_work *work)
{
	if (work->error)
		return;
	add(&files->counters->operations, 1);
	if (work->action != FILE_SYNC)
		add(&files->counters->bytes, work->request->length);
}

/* Without the lock. `except` is the work of the caller's request: returns whether it is there. */
static bool report(struct files *files, struct file_works *complete, const struct file_work *except)
{
	struct file_work *work;
	bool found = false;

	while ((work = STAILQ_FIRST(complete))) {
		struct backend_request *request = work->request;

		STAILQ_REMOVE_HEAD(complete, entry);
		request->error = work->error;
		request->done = request->length - work->left;
		if (work->action == FILE_SYNC)
			request->done = request->length;
		count_done(files, work);
		if (work == except)
			found = true;
		else
			request->completed(request);
		free(work);
	}
	return found;
}

static int files_submit(struct backend *backend, struct backend_request *request)
{
	struct files *files = (struct files *)backend;
	const struct operation *operation = request->operation;
	const struct sides sides = sides_of(files, operation);
	struct file_works finished = STAILQ_HEAD_INITIALIZER(finished);
	struct file_works complete = STAILQ_HEAD_INITIALIZER(complete);
	struct file_work *work = calloc(1, sizeof *work);

	if (!work) {
		request->error = -ENOMEM;
		return 0;
	}
	work->request = request;
	describe(work, operation, &sides);

	/* Without the lock: a page of the memory may be slow to come, see userfaultfd(2). */
	const bool done = work->error || work->action == FILE_SYNC ||
			  file_eager_write(&work->inode->eager, work) || file_work_try(work);

	pthread_mutex_lock(&files->mutex);
	if (done)
		STAILQ_INSERT_TAIL(&finished, work, entry);
	else
		begin(files, work, &finished);
	settle(files, &finished, &complete);
	pthread_mutex_unlock(&files->mutex);
	return report(files, &complete, work) ? 0 : -EINPROGRESS;
}

/* By a thread of the pool. */
static void on_pool_finished(void *context, struct file_work *work)
{
	struct files *files = context;
	struct file_works finished = STAILQ_HEAD_INITIALIZER(finished);
	struct file_works complete = STAILQ_HEAD_INITIALIZER(complete);

	pthread_mutex_lock(&files->mutex);
	STAILQ_INSERT_TAIL(&finished, work, entry);
	settle(files, &finished, &complete);
	pthread_mutex_unlock(&files->mutex);
	report(files, &complete, NULL);
}

/* Wait until the kernel has something in progress. Returns false at the end. */
static bool await_progress(struct files *files)
{
	files->reaper_waits = true;
	while (files->uring.in_progress == 0 && !files->stopping)
		pthread_cond_wait(&files->in_progress, &files->mutex);
	files->reaper_waits = false;
	return !files->stopping;
}

static void *reaper_main(void *argument)
{
	struct files *files = argument;
	struct pollfd event = {.fd = files->uring.event_fd, .events = POLLIN};

	pthread_setname_np(pthread_self(), "vdm-files");
	pthread_mutex_lock(&files->mutex);
	while (await_progress(files)) {
		struct file_works finished = STAILQ_HEAD_INITIALIZER(finished);
		struct file_works complete = STAILQ_HEAD_INITIALIZER(complete);
		const bool retry = files->uring.unsubmitted;
		eventfd_t count;

		pthread_mutex_unlock(&files->mutex);
		poll(&event, 1, retry ? RETRY_MS : -1);
		eventfd_read(files->uring.event_fd, &count);
		pthread_mutex_lock(&files->mutex);
		if (files->uring.unsubmitted)
			file_uring_flush(&files->uring);
		reap(files, &finished);
		settle(files, &finished, &complete);
		pthread_mutex_unlock(&files->mutex);
		report(files, &complete, NULL);
		pthread_mutex_lock(&files->mutex);
	}
	pthread_mutex_unlock(&files->mutex);
	return NULL;
}

/* Without signals, which are the program's. Returns 0 or a negative errno. */
static int start_reaper(struct files *files)
{
	sigset_t all, before;
	int result;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	result = pthread_create(&files->reaper, NULL, reaper_main, files);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -result;
}

static int open_uring(struct files *files)
{
	int result = file_uring_open(&files->uring);

	if (!result) {
		result = start_reaper(files);
		if (result)
			file_uring_close(&files->uring);
	}
	return result;
}

int files_new(const struct files_options *options, struct files **out)
{
	struct files *files = calloc(1, sizeof *files);

	if (!files)
		return -ENOMEM;
	files->backend = (struct backend){files_supports, files_submit};
	LIST_INIT(&files->inodes);
	pthread_rwlock_init(&files->parts_lock, NULL);
	pthread_mutex_init(&files->mutex, NULL);
	pthread_cond_init(&files->in_progress, NULL);
	file_pool_init(&files->pool, options->threads ? options->threads : DEFAULT_THREADS,
		       on_pool_finished, files);
	files->counters = options->counters ? options->counters : &files->own_counters;
	files->without_uring = options->without_uring ? -EOPNOTSUPP : open_uring(files);
	*out = files;
	return 0;
}

void files_delete(struct files *files)
{
	if (!files)
		return;
	if (!files->without_uring) {
		pthread_mutex_lock(&files->mutex);
		files->stopping = true;
		pthread_cond_signal(&files->in_progress);
		pthread_mutex_unlock(&files->mutex);
		pthread_join(files->reaper, NULL);
		file_uring_close(&files->uring);
	}
	file_pool_destroy(&files->pool);
	pthread_cond_destroy(&files->in_progress);
	pthread_mutex_destroy(&files->mutex);
	pthread_rwlock_destroy(&files->parts_lock);
	free(files->parts);
	free(files);
}

struct backend *files_backend(struct files *files)
{
	return &files->backend;
}

bool files_use_uring(const struct files *files, int *why)
{
	if (files->without_uring)
		*why = files->without_uring;
	return !files->without_uring;
}

uint64_t files_syncs(const struct files *files)
{
	/* relaxed; partner: add() */
	return atomic_load_explicit(&files->counters->syncs, memory_order_relaxed);
}

static struct file_inode *find_inode(struct files *files, const struct stat *status, int fd)
{
	struct file_inode *inode;

	LIST_FOREACH(inode, &files->inodes, entry)
		if (inode->device == status->st_dev && inode->number == status->st_ino)
			return inode;
	inode = malloc(sizeof *inode);
	if (inode) {
		file_inode_init(inode, status->st_dev, status->st_ino);
		file_eager_init(&inode->eager, fd);
		LIST_INSERT_HEAD(&files->inodes, inode, entry);
	}
	return inode;
}

static struct file_inode *get_inode(struct files *files, const struct stat *status, int fd)
{
	struct file_inode *inode;

	pthread_mutex_lock(&files->mutex);
	inode = find_inode(files, status, fd);
	if (inode)
		inode->parts++;
	pthread_mutex_unlock(&files->mutex);
	return inode;
}

static void put_inode(struct files *files, struct file_inode *inode)
{
	pthread_mutex_lock(&files->mutex);
	if (--inode->parts == 0) {
		LIST_REMOVE(inode, entry);
		free(inode);
	}
	pthread_mutex_unlock(&files->mutex);
}

/* Returns 0 or -ENOMEM. */
static int insert(struct files *files, const struct part *part)
{
	size_t at = 0;
	int result = 0;

	pthread_rwlock_wrlock(&files->parts_lock);
	if (files->count == files->capacity) {
		const size_t capacity = files->capacity ? 2 * files->capacity : 8;
		struct part *parts = reallocarray(files->parts, capacity, sizeof *parts);

		if (parts) {
			files->parts = parts;
			files->capacity = capacity;
		} else {
			result = -ENOMEM;
		}
	}
	while (at < files->count && files->parts[at].begin < part->begin)
		at++;
	if (!result) {
		memmove(&files->parts[at + 1], &files->parts[at],
			(files->count - at) * sizeof *files->parts);
		files->parts[at] = *part;
		files->parts[at].number = files->added++;
		files->count++;
	}
	pthread_rwlock_unlock(&files->parts_lock);
	return result;
}

int files_add(struct files *files, int fd, uint64_t offset, uint64_t length, unsigned flags,
	      void **base)
{
	struct part part = {.length = length,
			    .offset = offset,
			    .fd = fd,
			    .writable = flags & FILES_WRITABLE,
			    .reserved = !*base};
	struct stat status;
	void *reserved = *base;
	int result;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EMEDIUMTYPE;
	if (offset > INT64_MAX || length > INT64_MAX - offset)
		return -EOVERFLOW;
	if (!(flags & FILES_EXTEND) && (uint64_t)status.st_size < offset + length)
		return -EFBIG;
	if (part.reserved)
		reserved = mmap(NULL, length, PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reserved == MAP_FAILED)
		return -errno;
	part.begin = (uintptr_t)reserved;
	part.inode = get_inode(files, &status, fd);
	result = part.inode ? insert(files, &part) : -ENOMEM;
	if (!result) {
		*base = reserved;
		return 0;
	}
	if (part.inode)
		put_inode(files, part.inode);
	if (part.reserved)
		munmap(reserved, length);
	return result;
}

void files_fail_syncs(struct files *files, const void *address, int error)
{
	struct part part;

	pthread_rwlock_rdlock(&files->parts_lock);
	if (find(files, address, 0, &part)) {
		pthread_mutex_lock(&files->mutex);
		if (!part.inode->error)
			part.inode->error = error;
		pthread_mutex_unlock(&files->mutex);
	}
	pthread_rwlock_unlock(&files->parts_lock);
}

void files_remove(struct files *files, void *base)
{
	struct part part = {.fd = -1};
	size_t at = 0;

	pthread_rwlock_wrlock(&files->parts_lock);
	while (at < files->count && files->parts[at].begin != (uintptr_t)base)
		at++;
	if (at < files->count) {
		part = files->parts[at];
		files->count--;
		memmove(&files->parts[at], &files->parts[at + 1],
			(files->count - at) * sizeof *files->parts);
	}
	pthread_rwlock_unlock(&files->parts_lock);
	if (part.fd < 0)
		return;
	put_inode(files, part.inode);
	if (part.reserved)
		munmap(base, part.length);
	close(part.fd);
}
