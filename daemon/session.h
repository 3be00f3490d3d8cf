/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session: one connection, and everything that it holds. It belongs to its user's clerk, the
 * thread that does all that a client may make slow; or to a filer. What other threads look at is
 * guarded by the house's lock.
 */
#ifndef VDM_DAEMON_SESSION_H
#define VDM_DAEMON_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "engine/engine.h"
#include "house.h"
#include "log.h"
#include "notes.h"
#include "user.h"

struct clerk;
struct engine_account;
struct engine_memory;
struct filing;
struct populate_list;
struct region;
struct ring;

struct session {
	TAILQ_ENTRY(session) entry;    /* house::sessions */
	LIST_ENTRY(session) of_clerk;  /* in the clerk's table */
	STAILQ_ENTRY(session) arrival; /* of the clerk, while `arrives` */
	bool arrives;                  /* the porter has not been told of it */
	struct house *house;
	struct user *user;
	uint64_t number; /* in messages to the porter, and in reports */
	struct log_peer peer;
	uint64_t began_ns; /* CLOCK_MONOTONIC */
	/* The client's, until the porter has them for sure; else -1. If the porter has closed the
	 * socket by then, what is in it is closed with ours: by the clerk. */
	int socket, clients_lease;
	int files_end; /* closed, it ends the client's connection to the filer; -1: there is none */
	bool is_open;  /* it holds something; guarded by the house's lock */
	int lease_fd;  /* our end of it; -1: the session has let go of everything */

	struct limits limits; /* of the user when the session began */
	uint64_t offload_threshold;
	struct engine_memory *memory;
	LIST_HEAD(, ring) rings; /* changed with the house's lock held */
	uint32_t rings_made;
	void *regions, *files; /* trees of its regions, tsearch(3): by id, and by file */
	struct book book;      /* of its own charge, its rings and its regions */
	struct charge charge;
	struct vdm_report_counters ended; /* of its rings that are gone */

	struct clerk *clerk; /* NULL in a filer; and what of it the session uses: */
	struct engine_account *account;
	struct filing *filing; /* NULL in a filer */
	/* Have what is in a ring's doorbell received, and the ring looked at unless it is going. */
	void (*receive_bells)(struct ring *ring, bool last);
	struct notes *notes;
	struct populate_list *populating;
	struct note violated_note, over_limit_note;
	_Atomic(const char *) violation; /* see session_note_violation() */
};

/*
 * Begin a session on a connected socket. Holding the house's lock. Returns 0, and the socket is the
 * session's; or a negative errno with a sentence, and nothing is left.
 */
int session_new(struct house *house, struct user *user, const struct log_peer *peer, int socket,
		struct session **session, char text[VDM_REFUSAL_TEXT]);

/* What its client is told when it has greeted. `features`: VDM_FEATURE_*, but for the barrier. */
struct vdm_message_welcome session_welcome(const struct session *session, uint64_t features);

/* The porter has what is the client's. By the clerk. */
void session_is_handed_over(struct session *session);

/* The client has greeted, and calls itself that. */
void session_name(struct session *session, const char command[VDM_COMMAND_TEXT]);

/*
 * Give back everything that it holds, as workers let go of it, and hang up the lease. Only its
 * charge is left. By the clerk, without the lock. A session that has been emptied is left alone.
 */
void session_empty(struct session *session);

/* Forget it. It is empty. Holding the house's lock. */
void session_free(struct session *session);

/* Remove a ring; and a region. Wait for workers to let go of it. By the clerk, without the lock. */
void session_remove_ring(struct session *session, struct ring *ring);
void session_remove_region(struct session *session, struct region *region);

/* NULL: there is none. */
struct ring *session_find_ring(const struct session *session, uint32_t id);
struct region *session_find_region(const struct session *session, uint32_t id);
struct region *session_find_file(const struct session *session, const struct region *like);

/* Enter a region that has an id. Returns 0 or -ENOMEM. */
int session_enter_region(struct session *session, struct region *region);

/* Log that it has to end because the client broke the protocol. */
void session_log_violation(const struct session *session, const char *reason);

/*
 * Callbacks of a queue, on a worker's thread, with the ring as context. The client has broken the
 * protocol, for a reason that is a constant string; an operation was refused because of the bytes
 * that its user has in flight; there are bells to be received; a signal is to be sent. They leave
 * notes for the clerk.
 */
void session_note_violation(void *ring, const char *reason);
void session_note_over_limit(void *ring);
void session_note_bells(void *ring);
void session_note_signal(void *ring);

#endif
