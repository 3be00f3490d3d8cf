/* SPDX-License-Identifier: BSD-3-Clause */
/* A client's connection, as its porter sees it. */
#ifndef VDM_DAEMON_VISIT_H
#define VDM_DAEMON_VISIT_H

#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "proto/porter.h"

struct outbox;

enum visit_state {
	VISIT_GREETING, /* the client has connected and has to greet */
	VISIT_OPEN,     /* its requests are passed on */
	VISIT_ASKED,    /* one has been: no other is received before the answer */
	VISIT_LEAVING,  /* it has to go: the daemon is told, and gives back what it holds */
	VISIT_UNREAD,   /* it has been hung up, and the client has not read the last answer */
	VISIT_GONE
};

struct visit {
	LIST_ENTRY(visit) entry; /* in the porter's table */
	sd_event *event;
	struct outbox *outbox;
	uint64_t session;
	enum visit_state state; /* changed by set_state() alone */
	int socket;
	int lease;   /* the client's end, until it is sent with the welcome; -1 */
	int peer_fd; /* pidfd of the process that connected */
	int passed;  /* in VISIT_ASKED, the descriptor that came with the request; -1: none */
	sd_event_source *on_socket, *on_peer_end, *on_silence;
	unsigned slow_wakes; /* in a row */
	struct vdm_message_welcome welcome;
};

/*
 * Begin one with what came with PORTER_VISITOR, which is the visit's from now on. NULL: no memory.
 */
struct visit *visit_begin(sd_event *event, struct outbox *outbox,
			  const struct porter_message *visitor, const int fds[PORTER_VISITOR_FDS]);

/* The daemon has answered. The descriptors stay the caller's. */
void visit_answer(struct visit *visit, const union vdm_message *answer, const int *fds,
		  unsigned count);

/* Have the client go: what it is to be given cannot be. */
void visit_give_up(struct visit *visit);

/* Waking what waits for the client's sockets has taken so much CPU time. */
void visit_has_woken(struct visit *visit, uint64_t ns);

/* The daemon has let go of all that the session held. */
void visit_hang_up(struct visit *visit);

#endif
