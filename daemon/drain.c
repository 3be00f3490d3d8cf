/* SPDX-License-Identifier: BSD-3-Clause */
#include "drain.h"

#include <sys/socket.h>

#include "proto/passing.h"

/*
 * An empty message may bring descriptors, and looks like the end of the connection. With
 * SO_PASSCRED each message has a control message, too, for which there is no room here, and that is
 * reported (unix(7), recvmsg(2)).
 */
bool drain_finds_messages(int socket)
{
	struct msghdr message = {0};

	return setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)) < 0 ||
	       recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT) != 0 ||
	       (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC));
}

static int receive_one(int socket)
{
	char byte;
	struct passing passing = {.bytes = &byte, .size = sizeof byte};

	return passing_receive(socket, &passing, MSG_DONTWAIT);
}

void drain(int socket)
{
	while (drain_finds_messages(socket) && receive_one(socket) == 0)
		;
}
