/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests and answers on a socket to the daemon. There is one request and its answer at a time.
 * Every wait ends at a deadline: ms, CLOCK_MONOTONIC.
 */
#ifndef VDM_CLIENT_CONVERSATION_H
#define VDM_CLIENT_CONVERSATION_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/control.h"

/* How soon, and for how long, to try again after the kernel had no memory for a message. */
#define RETRY_MS     1
#define RETRY_FOR_MS 100

int64_t deadline_in(unsigned ms);
/* 0 when it has passed. */
int ms_until(int64_t deadline);

/* The socket to use: the option, the environment, or the default. */
const char *conversation_path(const char *given);

/*
 * Connect to the daemon at `path` and greet it. `*socket` is the connected socket also if the
 * greeting fails, so that the answer can still come; it is -1 if there is none. Returns 0, and then
 * `*lease` is the lease; or a negative errno with its sentence.
 */
int conversation_greet(const char *path, uint64_t features, unsigned timeout_ms, int *socket,
		       int *lease, struct vdm_message_welcome *welcome);

/* Greet on a connected socket, which stays open. Returns as conversation_greet() does. */
int conversation_greet_on(int socket, uint64_t features, unsigned timeout_ms, int *lease,
			  struct vdm_message_welcome *welcome);

/*
 * The same, for who will have nothing in use. Returns the socket, or a negative errno with its
 * sentence.
 */
int conversation_open(const char *path, unsigned timeout_ms, struct vdm_message_welcome *welcome);

/*
 * Send a request. Returns 0; -ENOTCONN; -ETIMEDOUT: the daemon does not read; or another negative
 * errno with its sentence: then nothing has been sent and the conversation can go on.
 */
int conversation_send(int socket, const struct vdm_message_header *request, const int *fds,
		      unsigned fd_count, int64_t deadline);

/* Receive a message. Returns 0, an error of vdm_packet_receive() or -ETIMEDOUT. Deadline 0: do not
 * wait. */
int conversation_receive(int socket, struct vdm_packet *packet, int64_t deadline);

/* Whether an error of the two above says that the kernel has no memory at the moment. */
bool conversation_may_retry(int error);

/*
 * Check an answer. `expected` is its type, and it has exactly `fd_count` descriptors. A refusal
 * becomes its error and sentence. -EPROTO: it is another message.
 */
int conversation_understand(struct vdm_packet *answer, enum vdm_message_type expected,
			    unsigned fd_count);

/* The sentence for an error of conversation_receive(). Returns what it means for the connection. */
int conversation_explain(int result, unsigned timeout_ms);

/*
 * One request and its answer, which is as conversation_understand() wants it; its descriptors are
 * the caller's to take. `*owed` answers to earlier requests come first and are dropped.
 */
int conversation_ask(int socket, unsigned timeout_ms, const struct vdm_message_header *request,
		     const int *fds, unsigned sent_fds, enum vdm_message_type expected,
		     unsigned fd_count, unsigned *owed, struct vdm_packet *answer);

/* conversation_ask() without descriptors to send. A peer that does not speak the protocol is no
 * daemon: -ENOTCONN. */
int conversation_ask_stranger(int socket, unsigned timeout_ms,
			      const struct vdm_message_header *request,
			      enum vdm_message_type expected, unsigned fd_count,
			      struct vdm_packet *answer);

#endif
