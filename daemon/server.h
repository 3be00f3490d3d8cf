/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The service as a whole: it sets up the parts that sessions use, and hears from sessions and
 * workers.
 */
#ifndef VDM_DAEMON_SERVER_H
#define VDM_DAEMON_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "acceptor.h"
#include "config.h"
#include "session.h"

struct server {
	struct session_host host;
	struct acceptor acceptor;
	struct config config;
	sd_event_source *on_note, *on_watch;
	uint64_t most_sessions; /* since memory was last given back to the kernel */
	bool announcing;        /* tell the service manager how many sessions there are */
};

/*
 * Set up engine and event loop. Takes over `config`, also on failure. Returns 0; or a negative
 * errno, and then nothing is left.
 */
int server_new(struct config *config, struct server **server);

/* End all sessions and free everything. */
void server_free(struct server *server);

/* Tell the service manager what is going on. */
void server_announce(struct server *server);

/* The event loop ran out of memory and may have lost events. */
void server_look_again(struct server *server);

/* Take over a new configuration. */
void server_reconfigure(struct server *server, struct config *fresh);

#endif
