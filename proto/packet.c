/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moving one control message and its file descriptors. The rule that matters is that no descriptor
 * is ever lost: whatever recvmsg(2) installed is handed to the caller, also when the message is
 * refused.
 */
#include "control.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "passing.h"

static_assert(VDM_PACKET_MAX_FDS == PASSING_MAX_FDS, "there is room for all");

const struct vdm_request *vdm_request(uint32_t type)
{
#define ROW(TYPE, name, fds, answers_with_fds, to)                                                 \
	[VDM_MESSAGE_##TYPE] = { sizeof(struct vdm_message_##name), fds, answers_with_fds, to }
	static const struct vdm_request requests[VDM_MESSAGE_TYPE_COUNT] = {
		ROW(HELLO, hello, 0, true, VDM_TO_BOTH),
		ROW(RING_CREATE, ring_create, 0, true, VDM_TO_BOTH),
		ROW(RING_START, ring_start, 0, false, VDM_TO_BOTH),
		ROW(RING_DESTROY, ring_destroy, 0, false, VDM_TO_BOTH),
		ROW(REGION_ADD, region_add, 1, false, VDM_TO_BOTH),
		ROW(REGION_REMOVE, region_remove, 0, false, VDM_TO_BOTH),
		ROW(FILES, files, 0, true, VDM_TO_DAEMON),
		ROW(FILE_ADD, file_add, 1, false, VDM_TO_FILER),
		ROW(STATUS, status, 0, false, VDM_TO_DAEMON),
	};
#undef ROW

	return type < VDM_MESSAGE_TYPE_COUNT && requests[type].size > 0 ? &requests[type] : NULL;
}

int vdm_packet_send(int socket, const struct vdm_message_header *message, const int *fds,
		    unsigned fd_count)
{
	return passing_send(socket, message, message->size, fds, fd_count, MSG_DONTWAIT);
}

int vdm_packet_receive(int socket, struct vdm_packet *packet, int wait)
{
	struct passing passing = {
		.bytes = &packet->message,
		.size = sizeof packet->message,
		.fds = packet->fds,
		.fd_count = VDM_PACKET_MAX_FDS,
	};
	int result = passing_receive(socket, &passing, wait ? 0 : MSG_DONTWAIT);

	packet->fd_count = passing.fd_count;
	packet->size = passing.size;
	packet->truncated = 0;
	if (result)
		return result;
	if (packet->size == 0)
		return -ENOTCONN;
	if (passing.flags & MSG_TRUNC)
		return -EMSGSIZE;
	if (packet->fd_count > VDM_MESSAGE_MAX_FDS)
		return -EPROTO;
	if (packet->size < sizeof packet->message.header ||
	    packet->message.header.size != packet->size)
		return -EMSGSIZE;
	if (passing.flags & MSG_CTRUNC) {
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
