/* SPDX-License-Identifier: BSD-3-Clause */
#include "record_locks.h"

#include <fcntl.h>
#include <unistd.h>

static int set_lock(int fd, int command, short type, off_t start, off_t length)
{
	struct flock lock = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

	return fcntl(fd, command, &lock);
}

unsigned record_locks_take(int fd, int command, short type, unsigned count)
{
	/* One large lock, of which every second byte is unlocked again: from the end, so that the
	 * kernel finds the place at once. */
	if (set_lock(fd, command, type, 0, 2 * (off_t)count) < 0)
		return 0;
	for (unsigned i = 1; i < count; i++)
		if (set_lock(fd, command, F_UNLCK, 2 * (off_t)(count - i) - 1, 1) < 0)
			return i;
	return count;
}
