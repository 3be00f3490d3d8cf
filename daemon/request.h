/* SPDX-License-Identifier: BSD-3-Clause */
/* The requests of clients. */
#ifndef VDM_DAEMON_REQUEST_H
#define VDM_DAEMON_REQUEST_H

#include <stddef.h>

#include "proto/control.h"
#include "import.h"

struct session;

/* As a porter hands it on, which may say anything; or as a client has sent it to a filer. */
struct request {
	const union vdm_message *message;
	size_t size;
	unsigned to;           /* which process this is: VDM_TO_* */
	struct passed *passed; /* the descriptor, if one came with it */
};

struct answer {
	union vdm_message *message;
	int fds[VDM_MESSAGE_MAX_FDS]; /* the caller's to close */
	unsigned fd_count;
};

/*
 * Handle a request. Returns 0 with the answer; -EPROTO, with the reason, if the client has broken
 * the protocol; or another negative errno, without one, if the daemon cannot go on with the
 * session. By the session's clerk, or its filer.
 */
int request_handle(struct session *session, const struct request *request, struct answer *answer,
		   const char **reason);

#endif
