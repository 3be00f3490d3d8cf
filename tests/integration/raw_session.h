/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client that speaks the protocol by hand, so that it can send what the library never sends. Its
 * functions end the process when the daemon does something that the protocol does not allow.
 */
#ifndef TEST_RAW_SESSION_H
#define TEST_RAW_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/control.h"
#include "proto/ring.h"

struct raw_session {
	int socket;
	struct vdm_message_welcome welcome;
};

struct raw_ring {
	uint32_t id;
	uint32_t entries;
	uint32_t submitted; /* position of the next descriptor */
	uint32_t completed; /* position of the next completion */
	uint32_t rung;      /* value of doorbell_wanted that was answered last */
	void *submission;
	void *completion; /* mapped read-only: a write to it is a fault; NULL: not yet */
	int fds[VDM_RING_FD_COUNT];
};

/* Connect to $VDM_SOCKET, without a greeting. */
int raw_connect(void);

/* Greet on a connected socket, which need not be the daemon's. */
void raw_greet(struct raw_session *session);

/* Connect and greet. */
void raw_open(struct raw_session *session);
void raw_close(struct raw_session *session);

/* Send a request and receive its reply, or -ENOTCONN if the session has ended instead. */
int raw_request(struct raw_session *session, const struct vdm_message_header *request,
		const int *fds, unsigned fd_count, struct vdm_packet *reply);

/*
 * A ring in three steps, of which the first returns 0 or the negative errno of a refusal: have the
 * daemon make it; map and populate its files; prepare, seal and start it. Or all of them.
 */
int raw_ring_make(struct raw_session *session, uint32_t entries, uint32_t first_sequence,
		  struct raw_ring *ring);
void raw_ring_map(struct raw_ring *ring);
void raw_ring_start(struct raw_session *session, struct raw_ring *ring);
int raw_ring_create(struct raw_session *session, uint32_t entries, uint32_t first_sequence,
		    struct raw_ring *ring);
void raw_ring_forget(struct raw_ring *ring);

/* A new region of `bytes`, mapped here. */
char *raw_region_add(struct raw_session *session, size_t bytes, uint32_t flags, uint32_t *region);

/* The descriptor at the next position, zeroed except for its sequence. */
struct vdm_descriptor *raw_entry(struct raw_ring *ring);

/* Publish it, with an honest sequence number or another one; ring the doorbell if wanted. */
void raw_publish(struct raw_ring *ring);
void raw_publish_as(struct raw_ring *ring, uint32_t sequence);

/* Wait for the next completion and copy it. Returns false if the session ended instead. */
bool raw_await(struct raw_session *session, struct raw_ring *ring,
	       struct vdm_completion *completion);

/* Wait until the daemon has closed the connection. */
void raw_await_end(struct raw_session *session);

#endif
