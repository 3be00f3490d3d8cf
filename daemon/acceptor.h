/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections: which become sessions, which are refused, and what happens when descriptors or
 * memory run out.
 */
#ifndef VDM_DAEMON_ACCEPTOR_H
#define VDM_DAEMON_ACCEPTOR_H

#include <systemd/sd-event.h>

#include "listener.h"

struct session_host;

struct acceptor {
	struct session_host *host;
	struct listener listener;
	int reserve_fd; /* used to accept a connection when no other is left; -1: none */
	sd_event_source *on_connection, *on_retry;
};

void acceptor_init(struct acceptor *acceptor, struct session_host *host);

/*
 * Accept connections on the listener, which is the acceptor's from now on. Returns 0 or a negative
 * errno.
 */
int acceptor_listen(struct acceptor *acceptor, const struct listener *listener);

/* Accept no more connections, and close the listener. */
void acceptor_close(struct acceptor *acceptor);

/*
 * Make a session of a connected socket, which is the acceptor's from now on. Returns 0; or a
 * negative errno, and then the socket has been answered and closed.
 */
int acceptor_admit(struct acceptor *acceptor, int socket);

/* Descriptors or memory have become free: try again what has failed for want of them. */
void acceptor_retry(struct acceptor *acceptor);

#endif
