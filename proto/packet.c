/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moving one control message and its file descriptors. The rule that matters is that no descriptor
 * is ever lost: whatever recvmsg(2) installed is handed to the caller, also when the message is
 * refused.
 */
#include "control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int vdm_packet_send(int socket, const struct vdm_message_header *message, const int *fds,
		    unsigned fd_count)
{
	struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = message->size};
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
		sent = sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return 0;
	/* the latter where the peer left something unread */
	return errno == EPIPE || errno == ECONNRESET ? -ENOTCONN : -errno;
}

int vdm_packet_receive(int socket, struct vdm_packet *packet, int wait)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * VDM_PACKET_MAX_FDS)];
	} control;
	struct iovec part = {.iov_base = &packet->message, .iov_len = sizeof packet->message};
	struct msghdr header = {.msg_iov = &part,
				.msg_iovlen = 1,
				.msg_control = &control,
				.msg_controllen = sizeof control};
	ssize_t received;

	packet->fd_count = 0;
	packet->truncated = 0;
	/* ECONNRESET, once, when the peer has closed with something of ours unread: what it had
	 * sent before that is still there, and may say why. */
	int reset = 0;

	do
		received = recvmsg(socket, &header, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
	while (received < 0 && (errno == EINTR || (errno == ECONNRESET && !reset++)));
	if (received < 0)
		return errno == ECONNRESET ? -ENOTCONN : -errno;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			packet->fds[packet->fd_count++] = fd; /* there is room for all of them */
		}
	}
	packet->size = (size_t)received;

	if (received == 0)
		return -ENOTCONN;
	if (header.msg_flags & MSG_TRUNC)
		return -EMSGSIZE;
	if (packet->fd_count > VDM_MESSAGE_MAX_FDS)
		return -EPROTO;
	if (packet->size < sizeof packet->message.header ||
	    packet->message.header.size != packet->size)
		return -EMSGSIZE;
	if (header.msg_flags & MSG_CTRUNC) {
		/* there is room for all that the kernel delivers, so it could not install them */
		packet->truncated = 1;
		return -EMFILE;
	}
	return 0;
}

void vdm_packet_close(struct vdm_packet *packet)
{
	while (packet->fd_count > 0) {
		int fd = packet->fds[--packet->fd_count];

		if (fd >= 0)
			close(fd);
	}
}

int vdm_packet_take(struct vdm_packet *packet, unsigned index)
{
	int fd = packet->fds[index];

	packet->fds[index] = -1;
	return fd;
}
