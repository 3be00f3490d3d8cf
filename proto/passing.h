/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sending and receiving bytes with file descriptors (SCM_RIGHTS of unix(7)), as one message of a
 * SOCK_SEQPACKET socket.
 */
#ifndef VDM_PROTO_PASSING_H
#define VDM_PROTO_PASSING_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

/* Most descriptors that a message can be made to carry: SCM_MAX_FD of unix(7). */
#define PASSING_MAX_FDS 253

struct passing {
	void *bytes;
	size_t size; /* of `bytes`; then, of what was received, 0 also for an empty message */
	int *fds;    /* NULL: no descriptors are received; those that come are closed at once */
	unsigned fd_count; /* room in `fds`; then, how many there are, which are the caller's */
	int flags;         /* then, MSG_TRUNC and MSG_CTRUNC of recvmsg(2) */
};

/*
 * `flags` as of send(2): MSG_DONTWAIT, or wait until there is room. Never raises SIGPIPE. The
 * descriptors, VDM_MESSAGE_MAX_FDS at most, stay the caller's. Returns 0; -EAGAIN: there is no
 * room; -ENOTCONN: the peer has gone; or another negative errno.
 */
int passing_send(int socket, const void *bytes, size_t size, const int *fds, unsigned fd_count,
		 int flags);

/*
 * `flags`: MSG_DONTWAIT, or wait for a message. No descriptor is ever lost: what recvmsg(2)
 * installed is handed to the caller. Returns 0; -EAGAIN: there is none; -ENOTCONN: the peer has
 * gone; or another negative errno. Then there are no descriptors.
 */
int passing_receive(int socket, struct passing *passing, int flags);

/* Whether the kernel had no memory for that at the moment: the same may succeed soon. */
static inline bool passing_may_retry(int result)
{
	return result == -ENOMEM || result == -ENOBUFS;
}

/*
 * Have the kernel let peers send this socket descriptors, or not: then sending any fails with
 * EPERM. Connections that are made to a listener are as it is when they are made. Before Linux
 * 6.16, peers always may.
 */
void passing_allow_fds(int socket, bool allow);

/* Whether peers may send it descriptors. */
bool passing_allows_fds(int socket);

#endif
