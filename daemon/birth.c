/* SPDX-License-Identifier: BSD-3-Clause */
#include "birth.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/passing.h"
#include "proto/porter.h"

bool birth_announce(int socket, pid_t child)
{
	const struct porter_message born = {.type = PORTER_BORN, .value = child};
	int fds[PORTER_BORN_FDS];
	char path[32];

	snprintf(path, sizeof path, "/proc/%d", (int)child);
	fds[PORTER_BORN_DIRECTORY] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fds[PORTER_BORN_PIDFD] = (int)syscall(SYS_pidfd_open, child, 0);

	bool told =
		fds[0] >= 0 && fds[1] >= 0 &&
		passing_send(socket, &born, sizeof born, fds, PORTER_BORN_FDS, MSG_DONTWAIT) == 0;

	for (unsigned i = 0; i < PORTER_BORN_FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return told;
}

int birth_receive(int socket, struct born *born)
{
	struct porter_message message = {0};
	int fds[PORTER_BORN_FDS];
	struct passing passing = {
		.bytes = &message, .size = sizeof message, .fds = fds, .fd_count = PORTER_BORN_FDS};
	int result = passing_receive(socket, &passing, MSG_DONTWAIT);

	if (result)
		return result;
	if (message.type == PORTER_BORN && passing.fd_count == PORTER_BORN_FDS) {
		born->directory = fds[PORTER_BORN_DIRECTORY];
		born->pidfd = fds[PORTER_BORN_PIDFD];
		passing_allow_fds(socket, false);
		return 0;
	}
	for (unsigned i = 0; i < passing.fd_count; i++)
		close(fds[i]);
	return -ENOTCONN;
}
