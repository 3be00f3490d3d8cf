/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections: which become sessions, which are refused, and what happens when descriptors or
 * memory run out.
 */
#ifndef VDM_DAEMON_ACCEPTOR_H
#define VDM_DAEMON_ACCEPTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "listener.h"
#include "proto/control.h"

struct house;

struct acceptor {
	struct house *house;
	sd_event *event;
	struct listener listener;
	int reserve_fd; /* used to accept a connection when no other is left; -1: none */
	int pending_fd; /* a client that is to be refused, once the spawner has room; -1: none */
	struct vdm_message_refused refused; /* what that one is told */
	bool is_pending;                    /* there is that one, or the spawner waits for us */
	sd_event_source *on_connection, *on_retry;
};

void acceptor_init(struct acceptor *acceptor, struct house *house, sd_event *event);

/*
 * Accept connections on the listener, which is the acceptor's from now on. Returns 0 or a negative
 * errno.
 */
int acceptor_listen(struct acceptor *acceptor, const struct listener *listener);

/* Accept no more connections, and close the listener. */
void acceptor_close(struct acceptor *acceptor);

/*
 * Make a session of a connected socket, which is the acceptor's from now on. Returns 0; or a
 * negative errno, and then the client is refused.
 */
int acceptor_admit(struct acceptor *acceptor, int socket);

#endif
