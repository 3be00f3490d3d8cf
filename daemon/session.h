/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session: one connection, and everything that it holds. It ends when the client hangs up, when
 * the process that connected ends (even if a child still has the socket), or when the client breaks
 * the protocol. Then everything is given back, as workers let go of it.
 */
#ifndef VDM_DAEMON_SESSION_H
#define VDM_DAEMON_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "log.h"
#include "proto/status.h"
#include "user.h"

struct engine;
struct engine_memory;
struct prefault;
struct reaper;
struct region;
struct ring;
struct session;
struct vdm_packet;
LIST_HEAD(session_list, session);

/* What a session tells the server. */
struct session_events {
	/* Handle a message; request_handle() */
	int (*message)(struct session *session, struct vdm_packet *packet, const char **reason);
	void (*changed)(void *context); /* there is a session more or less */
	void *context;
};

/* What all sessions share: the parts that they use, and what they add up to. */
struct session_host {
	struct session_events events;
	sd_event *event;
	struct engine *engine;
	struct reaper *reaper;
	struct prefault *prefault;
	const struct config *config; /* in force */
	int holes_fd;                /* holes.h; negative: the system does not allow it */
	int note_fd;                 /* eventfd: a worker has noted something in a session */
	bool stopping;               /* the daemon ends the sessions, not the clients */

	struct users users;
	struct session_list sessions;
	uint64_t began_ns; /* CLOCK_MONOTONIC */
	uint64_t accepted, refused, violated;
	struct vdm_report_counters ended; /* of rings that are gone */
};

enum session_state {
	SESSION_GREETING, /* the client has connected and has to greet */
	SESSION_OPEN,     /* messages are handled */
	SESSION_WAITING,  /* no message is, until a worker lets go of what the client gives back */
	SESSION_ENDING,   /* rings and regions are removed, as workers let go of them */
	SESSION_UNREAD,   /* it has hung up, and the client has not read the last answer */
	SESSION_GONE      /* nothing is left */
};

struct session {
	LIST_ENTRY(session) entry; /* session_host::sessions */
	struct session_host *host;
	struct user *user;
	struct log_peer peer;
	uint64_t began_ns;        /* CLOCK_MONOTONIC */
	enum session_state state; /* changed by set_state() alone */
	int socket;
	int peer_fd;                /* pidfd; -1: none */
	sd_event_source *on_socket; /* messages; in SESSION_UNREAD, what the client reads */
	sd_event_source *on_peer_end, *on_silence;

	struct limits limits; /* of the user when the session began */
	struct engine_memory *memory;
	LIST_HEAD(, ring) rings;
	uint32_t rings_made;
	LIST_HEAD(, region) regions;
	struct book book; /* of its own charge, its rings and its regions */
	struct charge charge;
	struct vdm_report_counters ended; /* of its rings that are gone */
	void *report; /* mapping of the last report that was asked for; NULL: there is none */
	size_t report_size;

	/* In SESSION_WAITING, what the client gives back: one of them is not NULL. */
	struct ring *leaving_ring;
	struct region *leaving_region;

	/* Notes of workers; see session_note_violation() and session_note_over_limit(). */
	_Atomic(const char *) violation;
	_Atomic bool over_limit;
};

/*
 * Begin a session of a user on a connected socket. Returns 0, and the socket is the session's; or a
 * negative errno with a sentence, and nothing is left.
 */
int session_begin(struct session_host *host, struct user *user, const struct log_peer *peer,
		  int socket, char text[VDM_REFUSAL_TEXT]);

/* The client has greeted, and named itself in session->peer. */
void session_open(struct session *session);

/*
 * Remove a ring or a region, of which the other is NULL, for the client, and answer: at once, or
 * when no worker uses it any more. Returns 0, or a negative errno if the client does not read the
 * answer.
 */
int session_remove_for_client(struct session *session, struct ring *ring, struct region *region);

/*
 * End it and give back everything, as workers let go of it. Unless the daemon stops, it then stays
 * until the client has read the last answer.
 */
void session_end(struct session *session);

/* The event loop may have lost events that do not come again. */
void session_look_again(struct session *session);

/* End it because the client broke the protocol. */
void session_violated(struct session *session, const char *reason);

/*
 * Callbacks of a queue, on a worker's thread, with the session as context. The client has broken
 * the protocol, for a reason that is a constant string; an operation was refused because of the
 * bytes that its user has in flight.
 */
void session_note_violation(void *session, const char *reason);
void session_note_over_limit(void *session);

/* Act upon these notes. That may end the session. */
void session_take_notes(struct session *session);

/*
 * Give back the pages of the last report, which are charged to the daemon for as long as the client
 * keeps the file.
 */
void session_drop_report(struct session *session);

/*
 * Whether the client has left an answer unread. Descriptors in unread messages count as those of
 * the sender's user id (unix(7), ETOOMANYREFS), so a client that let them pile up would use up what
 * all clients share.
 */
bool session_has_unread_answers(const struct session *session);

/* Add counters to a sum. */
void report_counters_add(struct vdm_report_counters *sum, const struct vdm_report_counters *more);

/* What its rings have done since it began, and how many of their operations are in flight. */
void session_counters(const struct session *session, struct vdm_report_counters *counters,
		      uint64_t *in_flight);

#endif
