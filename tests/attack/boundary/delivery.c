/* SPDX-License-Identifier: BSD-3-Clause */
#include "delivery.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attack.h"
#include "wire.h"

/* Messages that the daemon has not read when it ends the session. */
#define UNREAD_MESSAGES 8

/* Small buffers: what is sent afterwards finds little room. */
static void make_awkward(int socket)
{
	setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int));
	setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &(int){0}, sizeof(int));
	setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &(int){0}, sizeof(int));
}

static void send_behind_the_end(int socket, const int *fds, unsigned count)
{
	make_awkward(socket);
	wire_send_malformed(socket, NULL, 0);
	for (unsigned i = 0; i < UNREAD_MESSAGES; i++)
		wire_send(socket, "", i % 2, fds, count);
}

/* Since Linux 6.16 the kernel refuses descriptors until the porter has the connection. */
static int send_greeting(int socket, const int *fds, unsigned count)
{
	int result = wire_send_hello(socket, fds, count);

	for (unsigned i = 0; i < 100 && result == -EPERM; i++) {
		attack_pause_ms(1);
		result = wire_send_hello(socket, fds, count);
	}
	return result;
}

int deliver(enum delivery way, const int *fds, unsigned count, bool keep)
{
	int socket = way == DELIVERY_GREETING ? wire_connect() : wire_session();

	if (socket < 0)
		return socket;
	switch (way) {
	case DELIVERY_MALFORMED:
		wire_send_malformed(socket, fds, count);
		break;
	case DELIVERY_GREETING:
		if (send_greeting(socket, fds, count) == -EPERM) {
			close(socket);
			return -EPERM;
		}
		break;
	case DELIVERY_REFUSED:
		wire_send_region_add(socket, fds[0], 4096, 0);
		break;
	case DELIVERY_UNREAD:
		send_behind_the_end(socket, fds, count);
		break;
	case DELIVERY_COUNT:
		break;
	}
	for (unsigned i = 0; !keep && i < count; i++)
		close(fds[i]);
	close(socket);
	return 0;
}
