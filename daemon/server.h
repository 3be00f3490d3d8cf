/* SPDX-License-Identifier: BSD-3-Clause */
/* The service as a whole: event loop, engine, users, sessions, and what they add up to. */
#ifndef VDM_DAEMON_SERVER_H
#define VDM_DAEMON_SERVER_H

#include <systemd/sd-event.h>

#include "config.h"
#include "engine/engine.h"
#include "listener.h"
#include "reaper.h"
#include "session.h"
#include "user.h"

struct server {
	sd_event *event;
	struct config config;
	struct engine *engine;
	struct reaper *reaper;
	struct prefault *prefault;
	int holes_fd;                    /* holes.h; negative: there are none of that */
	struct listener listener;
	struct users users;
	struct session_list sessions;
	uint64_t most_sessions; /* since their memory was last given back */
	int violation_fd;                 /* eventfd: a worker has found a violation */
	sd_event_source *on_violation;
	sd_event_source *on_watch;        /* workers that wait for a client's memory */
	int reserve_fd;                   /* to be closed when descriptors run out; see accept_in_distress() */
	uint64_t began_ns;
	bool announcing;                  /* sd_notify() what sessions there are */
	bool stopping;                    /* the end of a session is not its client's doing */

	uint64_t accepted, refused, violated;
	struct vdm_report_counters ended; /* of rings that are gone */
};

/*
 * Set up engine and event loop. Takes over `config`, also on failure. Returns 0, or a negative errno, and then
 * nothing is left.
 */
int server_new(struct config *config, struct server **server);

/* End all sessions and free everything. */
void server_free(struct server *server);

/* Accept connections on the listener, which is the server's from now on. */
int server_listen(struct server *server, struct listener *listener);

/* No longer accept connections. */
void server_stop_listening(struct server *server);

/* There is a session more or less. When few are left of many, the memory of the others goes back to the kernel. */
void server_count_sessions(struct server *server);

/* Descriptors have become free: those who wait to be accepted may be. */
void server_accept_again(struct server *server);

/* Tell the service manager what is going on. */
void server_announce(struct server *server);

/* Take over a new configuration. */
void server_reconfigure(struct server *server, struct config *fresh);

#endif
