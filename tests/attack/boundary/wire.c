/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/control.h"

int wire_socket(void)
{
	const struct timeval second = {.tv_sec = 1};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof second);
	return fd;
}

int wire_connect_socket(int socket)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("VDM_SOCKET");

	if (!path || strlen(path) >= sizeof address.sun_path)
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	return connect(socket, (struct sockaddr *)&address, sizeof address) < 0 ? -errno : 0;
}

int wire_connect(void)
{
	int fd = wire_socket();
	int result = fd < 0 ? fd : wire_connect_socket(fd);

	if (result == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return result;
}

int wire_send(int socket, const void *bytes, size_t size, const int *fds, unsigned fd_count)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(WIRE_MOST_FDS * sizeof(int))];
	struct iovec part = {(void *)(uintptr_t)bytes, size};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	if (fd_count > 0) {
		memset(control, 0, sizeof control);
		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(rights), fds, fd_count * sizeof(int));
	}
	return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int wire_send_hello(int socket, const int *fds, unsigned fd_count)
{
	const struct vdm_message_hello hello = {
		.header = {.type = VDM_MESSAGE_HELLO, .size = sizeof hello},
		.magic = VDM_PROTOCOL_MAGIC,
		.version = VDM_PROTOCOL_VERSION,
		.command = "attacker"};

	return wire_send(socket, &hello, sizeof hello, fds, fd_count);
}

int wire_session(void)
{
	int fd = wire_connect(), result = fd;

	if (fd < 0)
		return fd;
	result = wire_send_hello(fd, NULL, 0);
	if (!result)
		result = wire_receive(fd, NULL);
	if (!result)
		return fd;
	close(fd);
	return result;
}

int wire_send_malformed(int socket, const int *fds, unsigned fd_count)
{
	const struct vdm_message_region_add request = {
		.header = {.type = VDM_MESSAGE_REGION_ADD, .size = sizeof request + 8}};

	return wire_send(socket, &request, sizeof request, fds, fd_count);
}

int wire_send_region_add(int socket, int fd, uint64_t bytes, uint32_t flags)
{
	const struct vdm_message_region_add request = {
		.header = {.type = VDM_MESSAGE_REGION_ADD, .size = sizeof request},
		.size = bytes,
		.flags = flags};

	return wire_send(socket, &request, sizeof request, &fd, 1);
}

int wire_send_region_remove(int socket, uint32_t region)
{
	const struct vdm_message_region_remove request = {
		.header = {.type = VDM_MESSAGE_REGION_REMOVE, .size = sizeof request},
		.region = region};

	return wire_send(socket, &request, sizeof request, NULL, 0);
}

int wire_send_status(int socket)
{
	const struct vdm_message_status request = {
		.header = {.type = VDM_MESSAGE_STATUS, .size = sizeof request}};

	return wire_send(socket, &request, sizeof request, NULL, 0);
}

int wire_receive(int socket, uint32_t *region)
{
	struct vdm_packet answer;
	int result = vdm_packet_receive(socket, &answer, 1);

	vdm_packet_close(&answer);
	if (result)
		return result;
	if (region)
		*region = answer.message.header.type == VDM_MESSAGE_REGION_ADDED
				  ? answer.message.region_added.region
				  : 0;
	return 0;
}

int wire_ping(int socket)
{
	int result = wire_send_region_remove(socket, UINT32_MAX);

	return result ? result : wire_receive(socket, NULL);
}

int wire_is_over(int socket)
{
	struct pollfd fd = {.fd = socket};

	return poll(&fd, 1, 0) == 1 && (fd.revents & (POLLHUP | POLLERR));
}

int wire_memfd(size_t bytes)
{
	int fd = memfd_create("attack", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0 && fallocate(fd, 0, 0, (off_t)bytes) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}
