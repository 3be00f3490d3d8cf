/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The conversation with the daemon. It is one question and its answer at a time, in the order in which they are asked,
 * and no question waits for longer than the client's answer_timeout_ms.
 *
 * A daemon that has not answered for so long is given up: it is asked nothing more, and told so by shutting down this
 * side's half of the socket. But it may only be stopped, and still move bytes when it goes on. That it never will is
 * proved by its hang-up alone, which comes after it has let go of every ring and region of the session, or from the
 * kernel after the last of its threads has ended.
 */
#ifndef VDM_CLIENT_CONNECTION_H
#define VDM_CLIENT_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/control.h"

struct vdm_client;

enum connection_state {
	CONNECTION_NONE,     /* and no socket */
	CONNECTION_GREETING, /* the daemon has not answered the greeting yet: the local lane serves until it does */
	CONNECTION_OPEN,
	CONNECTION_GIVEN_UP  /* it has not hung up yet */
};

/* These are called with client->talk held. */

/*
 * Connect and greet. Returns 0 or a negative errno with its sentence. -ETIMEDOUT: there is no answer yet; if the client
 * can do without, connection_look() finds it when it comes.
 */
int connection_open(struct vdm_client *client);

/* Notice what has happened since, without waiting: an answer to the greeting, a hang-up. */
void connection_look(struct vdm_client *client);

/*
 * One request and its reply. `expected` is the type of reply; its descriptors, exactly `fd_count`, are in the packet
 * and the caller's to take. A refusal becomes its error and sentence. -ENOTCONN: there is no connection (any more).
 */
int connection_request(struct vdm_client *client, const struct vdm_message_header *request, const int *fds,
		       unsigned sent_fds, enum vdm_message_type expected, unsigned fd_count,
		       struct vdm_packet *reply);

/* These take it. */

/* Connect again if the daemon has gone and another has come. */
void connection_renew(struct vdm_client *client);

/*
 * Have the daemon let go of a ring or a region that it knows through that connection: it answers DONE. If operations may
 * be `in_flight` on it, then on return the daemon has let go of it and never touches it again, however long that takes.
 */
void connection_let_go(struct vdm_client *client, uint32_t connection, const struct vdm_message_header *request,
		       bool in_flight);

/* Without a client: connect to the daemon at `path` and greet, within so many ms. Returns the socket, or a negative
 * errno with its sentence. */
int connection_dial(const char *path, uint64_t features, unsigned timeout_ms, struct vdm_message_welcome *welcome);

/* As connection_request(), on such a socket. */
int connection_converse(int socket, unsigned timeout_ms, const struct vdm_message_header *request,
			enum vdm_message_type expected, unsigned fd_count, struct vdm_packet *reply);

/* The socket to use: the option, the environment, or the default. */
const char *connection_path(const char *given);

/* A daemon that does not answer for so long is given up, by default. */
#define ANSWER_TIMEOUT_MS 10000

/* And an answer to the greeting is waited for no longer than this by a client that can do without a daemon. */
#define GREETING_PATIENCE_MS 1000

#endif
