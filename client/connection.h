/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connection of a client. No request waits for its answer for longer than the client's
 * answer_timeout_ms.
 *
 * A daemon that has not answered for so long is given up: it is sent no more requests, and is told
 * so by shutting down this side's half of the socket. But it may only be stopped, and still move
 * bytes when it goes on. The proof that it never will is the hang-up of the session's lease, which
 * comes after the daemon has let go of every ring and region of the session, or from the kernel
 * after the last of its threads has ended. The hang-up of the socket alone proves nothing: another
 * process of the daemon, which moves no bytes, holds its other end.
 */
#ifndef VDM_CLIENT_CONNECTION_H
#define VDM_CLIENT_CONNECTION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "libvdm/client.h"
#include "proto/control.h"

enum connection_state {
	CONNECTION_NONE,     /* and no socket */
	CONNECTION_GREETING, /* no answer yet: until it comes the local lane serves */
	CONNECTION_OPEN,
	CONNECTION_GIVEN_UP /* over, but the daemon's lease has not hung up yet */
};

struct connection {
	const struct vdm_options *options; /* every field valid */
	/* Of a connection to a filer: the one to the daemon, which is asked for it. Else NULL. */
	struct connection *daemon;
	/* Called after each welcome with `talk` held: the daemon knows nothing of the client
	 * yet. */
	void (*welcomed)(struct connection *connection);

	/*
	 * Two locks, taken in this order. `talk` is held for a conversation, which takes as long as
	 * the daemon likes, up to options->answer_timeout_ms. `lock` is held for moments only. The
	 * `talk` of the connection to the daemon is taken before that of the one to a filer. A
	 * thread that changes `state`, `socket`, `lease`, `error`, `number` or `refused` holds
	 * both, so that either is enough to read them.
	 */
	pthread_mutex_t talk, lock;
	enum connection_state state;
	int socket;       /* -1: none */
	int lease;        /* -1: none, or it has hung up */
	int error;        /* why there is no connection */
	uint32_t number;  /* of this connection: the client's first is 1; 0: there was none */
	uint64_t refused; /* greetings; further ones with the same error do not count */

	/* Guarded by `talk`: */
	struct vdm_message_welcome welcome; /* that of an open connection by `lock`, too */
	unsigned owed; /* answers that no thread waits for any more; they come before others */
	int64_t greeting_ends; /* ms, CLOCK_MONOTONIC: when to greet again without an answer */
	/* A refusal is believed for a while: why, and until when (ms, CLOCK_MONOTONIC). */
	char refusal[VDM_REFUSAL_TEXT];
	int64_t refused_until;
};

/* Whether an error of connection_open() says that there is no daemon, or none yet. Else there is
 * one that does not serve this client. */
bool connection_is_absence(int error);

/* A client that can do without a daemon waits no longer than this for an answer to its greeting
 * when it opens. */
#define GREETING_PATIENCE_MS 1000

/* `daemon` is NULL, or the connection is to be one to a filer. */
void connection_init(struct connection *connection, const struct vdm_options *options,
		     struct connection *daemon, void (*welcomed)(struct connection *connection));
void connection_destroy(struct connection *connection);

/* Take `talk`, and wait for it for at most so long. Returns whether that has succeeded. */
bool connection_lock_talk(struct connection *connection, unsigned most_ms);

/* The caller of these holds `talk`. */

/*
 * Connect and greet, and wait for the answer for at most so long. Returns 0 or a negative errno
 * with its sentence. -ETIMEDOUT: there is no answer yet; if the client can do without a daemon,
 * connection_look() finds the answer when it comes. For a filer the caller also holds the `talk` of
 * the connection to the daemon.
 */
int connection_open(struct connection *connection, unsigned most_ms);

/* Notice, without waiting, what has happened since: an answer to the greeting, or a hang-up. */
void connection_look(struct connection *connection);

/* Connect again if the daemon has gone and another one has come, or is coming: wait for its answer
 * for at most so long. A daemon that has refused the client is asked again after a second. For a
 * filer as connection_open(). */
void connection_reopen(struct connection *connection, unsigned most_ms);

/*
 * One request and its answer. `expected` is the answer's type; its descriptors, exactly `fd_count`,
 * are in the packet and the caller's to take. A refusal becomes its error and sentence. -ENOTCONN:
 * there is no connection (any more).
 */
int connection_request(struct connection *connection, const struct vdm_message_header *request,
		       const int *fds, unsigned sent_fds, enum vdm_message_type expected,
		       unsigned fd_count, struct vdm_packet *answer);

/*
 * A message that has no answer. Returns 0; -ENOTCONN: there is no connection (any more); or another
 * negative errno with its sentence: then nothing has been sent.
 */
int connection_tell(struct connection *connection, const struct vdm_message_header *message);

/* These take `talk` themselves. */

/* connection_reopen(), which waits for other threads' conversations for at most so long, too.
 * Returns whether they have ended in time. */
bool connection_renew(struct connection *connection, unsigned most_ms);

/*
 * Have the daemon let go of a ring or a region that it knows through connection `number`: it
 * answers DONE. If operations on it may be `in_flight`, then on return the daemon has let go of it
 * and never touches it again, however long that takes.
 */
void connection_let_go(struct connection *connection, uint32_t number,
		       const struct vdm_message_header *request, bool in_flight);

#endif
