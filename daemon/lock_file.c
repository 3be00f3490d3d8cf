/* SPDX-License-Identifier: BSD-3-Clause */
#include "lock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* A socket's path has at most 108 bytes; then comes ".lock". */
#define NAME_BYTES 128

/*
 * A daemon that ends removes the file. Another process is at work when the file has gone so often.
 */
#define ATTEMPTS 16

static void name_of(const char *path, char name[NAME_BYTES])
{
	snprintf(name, NAME_BYTES, "%s.lock", path);
}

/* Whether `name` is still the name of the file that is open. */
static bool is_name_of(const char *name, int fd)
{
	struct stat named, opened;

	return lstat(name, &named) == 0 && fstat(fd, &opened) == 0 &&
	       named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

static int open_plain_file(const char *name, char error[LOCK_FILE_ERROR_TEXT])
{
	int fd =
		open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
	int result = fd < 0 ? -errno : 0;
	struct stat status;

	if (!result && (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))) {
		close(fd);
		result = -EEXIST;
	}
	if (result == -EEXIST || result == -ELOOP || result == -EISDIR || result == -ENXIO)
		snprintf(error, LOCK_FILE_ERROR_TEXT, "%s is not a plain file: remove it", name);
	else if (result)
		snprintf(error, LOCK_FILE_ERROR_TEXT, "%s: %s", name, strerror(-result));
	return result ? result : fd;
}

int lock_file_take(const char *path, char error[LOCK_FILE_ERROR_TEXT])
{
	char name[NAME_BYTES];

	name_of(path, name);
	for (unsigned i = 0; i < ATTEMPTS; i++) {
		int fd = open_plain_file(name, error);

		if (fd < 0)
			return fd;
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			int result = errno == EWOULDBLOCK ? -EADDRINUSE : -errno;

			snprintf(error, LOCK_FILE_ERROR_TEXT, "%s cannot be locked: %s", name,
				 strerror(-result));
			close(fd);
			return result;
		}
		/*
		 * The daemon that had it before may have removed the file between our open and our
		 * lock.
		 */
		if (is_name_of(name, fd))
			return fd;
		close(fd);
	}
	return -EADDRINUSE;
}

void lock_file_release(const char *path, int fd)
{
	char name[NAME_BYTES];

	name_of(path, name);
	/*
	 * with the lock held, so that the next process that gets the lock sees that its file has
	 * lost its name
	 */
	if (is_name_of(name, fd))
		unlink(name);
	close(fd);
}
