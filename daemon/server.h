/* SPDX-License-Identifier: BSD-3-Clause */
/* The service as a whole: it sets up the parts, and takes them down. */
#ifndef VDM_DAEMON_SERVER_H
#define VDM_DAEMON_SERVER_H

#include <systemd/sd-event.h>

#include "acceptor.h"
#include "config.h"
#include "house.h"

struct server {
	sd_event *event;
	struct house house;
	struct acceptor acceptor;
	struct config config;
	sd_event_source *on_watch, *on_spawner;
};

/*
 * Set up engine and event loop, with a spawner that has been started. Takes over `config` and
 * `spawner`, also on failure. Returns 0; or a negative errno, and then nothing is left.
 */
int server_new(struct config *config, const struct spawner *spawner, struct server **server);

/* End all sessions and free everything. */
void server_free(struct server *server);

/* Take over a new configuration. */
void server_reconfigure(struct server *server, struct config *fresh);

#endif
