/* SPDX-License-Identifier: BSD-3-Clause */
#include "file_work.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* A copy that the kernel cannot make by itself, and a fill, go through memory of this size. */
#define CHUNK ((size_t)256 << 10)

/* A file system that says so for ever has failed. */
#define MOST_AGAIN 100

bool file_work_stepped(struct file_work *work, long result)
{
	if ((result == -EINTR || result == -EAGAIN) && work->again++ < MOST_AGAIN)
		return false;
	if (result < 0) {
		work->error = (int)result;
		return true;
	}
	if (result == 0 && work->left > 0) {
		/* the end of the file; no write of a regular file returns zero */
		work->error = work->action == FILE_WRITE ? -EIO : -ENODATA;
		return true;
	}
	file_work_advance(work, (size_t)result);
	return work->left == 0;
}

static long result_of(ssize_t returned)
{
	return returned < 0 ? -errno : returned;
}

/* Write a chunk. Returns 0 or a negative errno, and stores how many bytes have been written. */
static int write_chunk(int fd, const char *bytes, size_t size, uint64_t position, size_t *written)
{
	struct file_work work = {.action = FILE_WRITE, .left = size};

	do
		*written = size - work.left;
	while (!file_work_stepped(&work, result_of(pwrite(fd, bytes + *written, work.left,
							  (off_t)(position + *written)))));
	*written = size - work.left;
	return work.error;
}

static int read_chunk(int fd, char *bytes, size_t size, uint64_t position)
{
	struct file_work work = {.action = FILE_READ, .left = size};
	size_t read;

	do
		read = size - work.left;
	while (!file_work_stepped(&work, result_of(pread(fd, bytes + read, work.left,
							 (off_t)(position + read)))));
	return work.error;
}

/* In chunks, the last one first if the ranges overlap that way. */
static void copy_through_memory(struct file_work *work)
{
	char *chunk = malloc(CHUNK);

	if (!chunk)
		work->error = -ENOMEM;
	while (work->left > 0 && !work->error) {
		const size_t size = work->left < CHUNK ? work->left : CHUNK;
		const uint64_t skip = work->backward ? work->left - size : 0;
		size_t written = 0;

		work->error = read_chunk(work->source_fd, chunk, size, work->source + skip);
		if (!work->error)
			work->error =
				write_chunk(work->fd, chunk, size, work->position + skip, &written);
		file_work_advance(work, written);
	}
	free(chunk);
}

/* The file system may share the blocks instead of copying them. */
static void copy_all(struct file_work *work)
{
	while (work->left > 0 && !work->backward) {
		off_t from = (off_t)work->source, to = (off_t)work->position;
		ssize_t copied =
			copy_file_range(work->source_fd, &from, work->fd, &to, work->left, 0);

		if (copied <= 0)
			break; /* what the reason is, the other way tells */
		file_work_advance(work, (size_t)copied);
	}
	if (work->left > 0)
		copy_through_memory(work);
}

/* As far as the source goes now: a copy within a file may extend it. */
static void copy(struct file_work *work)
{
	const size_t wanted = work->left;
	struct stat status;

	if (fstat(work->source_fd, &status) < 0) {
		work->error = -errno;
		return;
	}
	const uint64_t end = (uint64_t)status.st_size;
	const uint64_t there = end > work->source ? end - work->source : 0;

	if (there < wanted)
		work->left = (size_t)there;
	copy_all(work);
	if (there < wanted) {
		work->left += wanted - (size_t)there;
		if (!work->error)
			work->error = -ENODATA;
	}
}

static void fill(struct file_work *work)
{
	char *chunk = NULL;

	/* without writing anything where the file system can */
	if (work->fill == 0 && fallocate(work->fd, FALLOC_FL_ZERO_RANGE, (off_t)work->position,
					 (off_t)work->left) == 0)
		work->left = 0;
	if (work->left > 0)
		chunk = malloc(CHUNK);
	if (chunk)
		memset(chunk, work->fill, CHUNK);
	else if (work->left > 0)
		work->error = -ENOMEM;
	while (work->left > 0 && !work->error) {
		const size_t size = work->left < CHUNK ? work->left : CHUNK;
		size_t written = 0;

		work->error = write_chunk(work->fd, chunk, size, work->position, &written);
		file_work_advance(work, written);
	}
	free(chunk);
}

bool file_work_try(struct file_work *work)
{
	const struct iovec range = {work->memory, work->left};
	ssize_t moved = 0;

	if (work->left > FILE_MOST_AT_ONCE)
		return false;
	if (work->action == FILE_READ)
		moved = preadv2(work->fd, &range, 1, (off_t)work->position, RWF_NOWAIT);
	else if (work->action == FILE_WRITE)
		moved = pwritev2(work->fd, &range, 1, (off_t)work->position, RWF_NOWAIT);
	work->may_not_wait = moved >= 0 || errno == EAGAIN;
	if (moved <= 0)
		return false;
	file_work_advance(work, (size_t)moved);
	return work->left == 0;
}

void file_work_run(struct file_work *work)
{
	switch (work->action) {
	case FILE_READ:
		while (!file_work_stepped(work, result_of(pread(work->fd, work->memory, work->left,
								(off_t)work->position))))
			;
		break;
	case FILE_WRITE:
		while (!file_work_stepped(work, result_of(pwrite(work->fd, work->memory, work->left,
								 (off_t)work->position))))
			;
		break;
	case FILE_COPY:
		copy(work);
		break;
	case FILE_FILL:
		fill(work);
		break;
	case FILE_SYNC:
		work->error = fdatasync(work->fd) < 0 ? -errno : 0;
		break;
	}
}
