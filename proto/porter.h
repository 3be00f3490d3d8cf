/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the daemon and a porter say to each other. A porter is a process of one user: it holds the
 * sockets of that user's clients and the descriptors that they pass, and hands their requests on.
 * The user may have taken it over: the daemon believes nothing that it says, and takes no
 * descriptor from it.
 *
 * The socket is AF_UNIX, SOCK_SEQPACKET. Each message is one struct porter_message, as far as it is
 * used.
 */
#ifndef VDM_PROTO_PORTER_H
#define VDM_PROTO_PORTER_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "control.h"

enum porter_message_type {
	/* To the porter: */
	PORTER_VISITOR = 1, /* a client has connected: PORTER_VISITOR_FDS, `welcome` */
	PORTER_REFUSE,      /* the same, but tell it `refused` and hang up: with its socket */
	PORTER_ANSWER,      /* to its request: pass it on with its descriptors, unless empty */
	PORTER_HANG_UP,     /* the session holds nothing any more: hang up */
	PORTER_BELL,        /* a doorbell's end: receive what is in it */

	/* To the daemon: */
	PORTER_BORN,     /* the first message, from the porter's parent: PORTER_BORN_FDS */
	PORTER_OPENED,   /* the client has greeted: `command` */
	PORTER_REQUEST,  /* answered once; no other of the session comes before the answer */
	PORTER_LEFT,     /* the client has gone or has to go; answered with PORTER_HANG_UP */
	PORTER_RECEIVED, /* after PORTER_BELL, with its `value`, unless that is zero */
	PORTER_GONE,     /* after PORTER_HANG_UP: the socket is closed, the session has no trace */
};

enum porter_visitor_fd {
	PORTER_VISITOR_SOCKET,
	PORTER_VISITOR_LEASE, /* for the client, with the welcome */
	PORTER_VISITOR_FDS
};

/*
 * Each message to a client wakes all that waits for the client's end of the socket, in the kernel
 * and without giving up the CPU. A client for which that takes longer, in CPU time, twice in a row,
 * has to go: some ten thousand threads can wait, but not a million entries of epolls. Once may be
 * the hypervisor's doing.
 */
#define MOST_WAKE_NS    50000000
#define MOST_SLOW_WAKES 2

enum porter_born_fd {
	PORTER_BORN_DIRECTORY, /* of the porter's process in proc(5) */
	PORTER_BORN_PIDFD,
	PORTER_BORN_FDS
};

/* Why a session has to end. */
enum porter_reason {
	PORTER_CLIENT_LEFT, /* it hung up, or its process has ended */
	PORTER_CLIENT_DEAF, /* it does not read its answers */
	PORTER_NO_DESCRIPTORS,
	PORTER_SILENT, /* this and what follows: it broke the protocol */
	PORTER_MALFORMED,
	PORTER_UNKNOWN_TYPE,
	PORTER_WRONG_SIZE,
	PORTER_NO_GREETING,
	PORTER_GREETED_TWICE,
	PORTER_BAD_GREETING,
	PORTER_UNREAD_ANSWER,
	PORTER_WRONG_DESCRIPTORS,
	PORTER_CROWDED, /* so much waits for its sockets that waking it takes MOST_WAKE_NS */
	PORTER_REASON_COUNT
};

struct porter_message {
	uint32_t type; /* enum porter_message_type */
	/*
	 * PORTER_VISITOR: the client's process id; PORTER_REQUEST: the descriptor that came with
	 * it, in the porter's table, or -1; PORTER_LEFT: enum porter_reason; PORTER_BELL: the
	 * ring's number, or zero if it is going.
	 */
	int32_t value;
	uint64_t session; /* its number; zero where there is none */
	union {
		union vdm_message message; /* PORTER_REQUEST, PORTER_ANSWER */
		struct vdm_message_welcome welcome;
		struct vdm_message_refused refused;
		char command[VDM_COMMAND_TEXT];
	};
};
static_assert(sizeof(struct porter_message) == 16 + sizeof(union vdm_message), "no padding");

/* Bytes of it that are sent. Those that are not are zero for the receiver. */
static inline size_t porter_message_size(const struct porter_message *message)
{
	const size_t least = offsetof(struct porter_message, message);
	const uint32_t size = message->message.header.size;

	switch (message->type) {
	case PORTER_VISITOR:
		return least + sizeof message->welcome;
	case PORTER_REFUSE:
		return least + sizeof message->refused;
	case PORTER_OPENED:
		return least + sizeof message->command;
	case PORTER_ANSWER:
	case PORTER_REQUEST:
		return least + (size < sizeof message->message ? size : sizeof message->message);
	default:
		return least;
	}
}

#endif
