/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client's connection, as the process sees it that has the client's socket: a porter or a filer.
 * It receives messages, checks their form, and ends the connection in order. What is in a request
 * is its host's to deal with.
 */
#ifndef VDM_DAEMON_VISIT_H
#define VDM_DAEMON_VISIT_H

#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "proto/porter.h"

struct visit;

enum visit_state {
	VISIT_GREETING, /* the client has connected and has to greet */
	VISIT_OPEN,     /* its requests are passed on */
	VISIT_ASKED,    /* one has been: no other is received before the answer */
	VISIT_LEAVING,  /* it has to go: the host is told, and gives back what it holds */
	VISIT_UNREAD,   /* it has been hung up, and the client has not read the last answer */
	VISIT_GONE
};

/* What the process does about its visits. None of these calls ends a visit. */
struct visit_host {
	unsigned to; /* whom clients send their requests: VDM_TO_* */
	/* The client has greeted, and calls itself that. */
	void (*opened)(struct visit *visit, const char command[VDM_COMMAND_TEXT]);
	/* A request has come: visit_answer() is called once, now or later. The descriptor that came
	 * with it is visit->passed, and is closed with the answer. */
	void (*asked)(struct visit *visit, const union vdm_message *request, size_t size);
	/* The client has gone or has to go: visit_hang_up() is called once, later. */
	void (*left)(struct visit *visit, enum porter_reason reason);
	/* After visit_hang_up(): the socket is closed, and the visit is about to be freed. */
	void (*gone)(struct visit *visit);
};

struct visit {
	LIST_ENTRY(visit) entry; /* in the host's list */
	sd_event *event;
	const struct visit_host *host;
	void *context; /* the host's */
	uint64_t session;
	enum visit_state state; /* changed by set_state() alone */
	int socket;
	int lease;   /* the client's end, until it is sent with the welcome; -1 */
	int peer_fd; /* readable when the client is gone, though another may have its socket */
	int passed;  /* in VISIT_ASKED, the descriptor that came with the request; -1: none */
	sd_event_source *on_socket, *on_peer_end, *on_silence;
	unsigned slow_wakes; /* in a row */
	struct vdm_message_welcome welcome;
};

struct visitor {
	uint64_t session;
	int socket, lease, peer; /* as in struct visit; peer is -1 if there was no room for it */
	const struct vdm_message_welcome *welcome;
};

/*
 * Begin one. The descriptors are the visit's from now on. NULL: no memory, and they are the
 * caller's. The host may be called before this returns.
 */
struct visit *visit_begin(sd_event *event, const struct visit_host *host, void *context,
			  const struct visitor *visitor);

/*
 * How the client has broken the protocol, if that is why the visit has to end. `reason` may be any
 * number. NULL: it has not.
 */
const char *visit_violation(int32_t reason);

/* The answer to the request. The descriptors stay the caller's. */
void visit_answer(struct visit *visit, const union vdm_message *answer, const int *fds,
		  unsigned count);

/* Have the client go: what it is to be given cannot be. */
void visit_give_up(struct visit *visit);

/* Waking what waits for the client's sockets has taken so much CPU time. */
void visit_has_woken(struct visit *visit, uint64_t ns);

/* The host has let go of all that the session held. */
void visit_hang_up(struct visit *visit);

#endif
