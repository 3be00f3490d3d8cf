/* SPDX-License-Identifier: BSD-3-Clause */
#include "passing.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "control.h"

/* Linux 6.16; older C libraries do not know it. */
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

int passing_send(int socket, const void *bytes, size_t size, const int *fds, unsigned fd_count,
		 int flags)
{
	struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * VDM_MESSAGE_MAX_FDS)];
	} control = {0};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

	if (fd_count > VDM_MESSAGE_MAX_FDS)
		return -EINVAL;
	if (fd_count > 0) {
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		struct cmsghdr *rights = CMSG_FIRSTHDR(&header);

		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(rights), fds, sizeof(int) * fd_count);
	}

	ssize_t sent;

	do
		sent = sendmsg(socket, &header, flags | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return 0;
	/* the latter where the peer left something unread */
	return errno == EPIPE || errno == ECONNRESET ? -ENOTCONN : -errno;
}

/* Copy the descriptors of a message, for all of which there is room. */
static void take_fds(struct msghdr *header, struct passing *passing)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		memcpy(passing->fds + passing->fd_count, CMSG_DATA(c), count * sizeof(int));
		passing->fd_count += (unsigned)count;
	}
}

int passing_receive(int socket, struct passing *passing, int flags)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * PASSING_MAX_FDS)];
	} control;
	struct iovec part = {.iov_base = passing->bytes, .iov_len = passing->size};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t received;
	/* ECONNRESET, once, when the peer has closed with something of ours unread: what it had
	 * sent before that is still there, and may say why. */
	int reset = 0;

	if (passing->fds) {
		header.msg_control = &control;
		header.msg_controllen = CMSG_LEN(sizeof(int) * passing->fd_count);
	}
	passing->fd_count = 0;
	do
		received = recvmsg(socket, &header, MSG_CMSG_CLOEXEC | flags);
	while (received < 0 && (errno == EINTR || (errno == ECONNRESET && !reset++)));
	if (received < 0)
		return errno == ECONNRESET ? -ENOTCONN : -errno;
	if (passing->fds)
		take_fds(&header, passing);
	passing->size = (size_t)received;
	passing->flags = header.msg_flags & (MSG_TRUNC | MSG_CTRUNC);
	return 0;
}

void passing_allow_fds(int socket, bool allow)
{
	setsockopt(socket, SOL_SOCKET, SO_PASSRIGHTS, &(int){allow}, sizeof(int));
}

bool passing_allows_fds(int socket)
{
	socklen_t size = sizeof(int);
	int allows;

	return getsockopt(socket, SOL_SOCKET, SO_PASSRIGHTS, &allows, &size) < 0 || allows;
}
