/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_sockets.h"

#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>

#define MOST_SOCKETS 4096

bool ring_doorbell(int doorbell)
{
	static const uint64_t one = 1;

	return send(doorbell, &one, sizeof one, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

/* The daemon takes no messages on an event socket. */
static bool is_doorbell(int socket)
{
	return ring_doorbell(socket) || errno == EAGAIN;
}

static unsigned choose(const struct open_files *before, bool doorbells, int *chosen, unsigned most)
{
	int sockets[MOST_SOCKETS];
	unsigned all = open_files_new(before, KIND_SOCKET, sockets, MOST_SOCKETS), count = 0;

	for (unsigned i = 0; i < all && count < most; i++)
		if (is_doorbell(sockets[i]) == doorbells)
			chosen[count++] = sockets[i];
	return count;
}

unsigned ring_sockets_doorbells(const struct open_files *before, int *doorbells, unsigned most)
{
	return choose(before, true, doorbells, most);
}

unsigned ring_sockets_events(const struct open_files *before, int *events, unsigned most)
{
	return choose(before, false, events, most);
}
