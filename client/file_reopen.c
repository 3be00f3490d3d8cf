/* SPDX-License-Identifier: BSD-3-Clause */
#include "file_reopen.h"

#include <fcntl.h>
#include <stdio.h>

int file_reopen(int fd)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);

	int own = open(path, (fcntl(fd, F_GETFL) & O_ACCMODE) | O_CLOEXEC);

	return own >= 0 ? own : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}
