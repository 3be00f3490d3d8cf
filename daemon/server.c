/* SPDX-License-Identifier: BSD-3-Clause */
#include "server.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "holes.h"
#include "log.h"
#include "prefault.h"
#include "reaper.h"
#include "request.h"

/* The memory of sessions that have ended is worth giving back when a quarter is left of so many. */
#define MANY_SESSIONS 32

/* How long the end waits for a worker that a client's memory keeps in the kernel. */
#define PATIENCE_NS 500000000

/* Workers have noted something in sessions. */
static int on_note(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct server *server = context;
	struct session *session, *next;
	eventfd_t count;

	(void)source;
	(void)events;
	eventfd_read(fd, &count);
	for (session = LIST_FIRST(&server->host.sessions); session; session = next) {
		next = LIST_NEXT(session, entry);
		session_take_notes(session);
	}
	return 0;
}

static int on_watch(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct server *server = context;

	(void)source;
	(void)fd;
	(void)events;
	engine_supervise(server->host.engine);
	return 0;
}

static void give_back_memory(struct server *server)
{
	const uint64_t sessions = server->host.users.book.used[RESOURCE_SESSIONS];

	if (sessions > server->most_sessions)
		server->most_sessions = sessions;
	if (server->most_sessions < MANY_SESSIONS || sessions > server->most_sessions / 4)
		return;
	server->most_sessions = sessions;
#ifdef __GLIBC__
	malloc_trim(0); /* without it, free(3) gives back the end of the heap alone */
#endif
}

static void on_sessions_changed(void *context)
{
	struct server *server = context;

	give_back_memory(server);
	acceptor_retry(&server->acceptor);
	server_announce(server);
}

static int start_engine(struct session_host *host)
{
	const struct engine_options options = {
		.workers = (unsigned)host->config->workers,
		.spin_us = (uint32_t)host->config->spin_us,
		.pin = host->config->pin,
		.supervised = true,
		.guard_faults = true,
	};

	return engine_new(&options, &host->engine);
}

static int set_up(struct server *server)
{
	struct session_host *host = &server->host;
	int result = host->note_fd < 0 ? -errno : sd_event_new(&host->event);

	if (result >= 0)
		result = sd_event_add_io(host->event, &server->on_note, host->note_fd, EPOLLIN,
					 on_note, server);
	if (result >= 0)
		result = start_engine(host);
	if (result >= 0)
		result = sd_event_add_io(host->event, &server->on_watch,
					 engine_supervisor_fd(host->engine), EPOLLIN, on_watch,
					 server);
	if (result >= 0)
		result = reaper_new(host->event, &host->reaper);
	if (result >= 0)
		result = prefault_new(&host->prefault);
	users_init(&host->users, host->engine, host->config);
	return result < 0 ? result : 0;
}

int server_new(struct config *config, struct server **out)
{
	struct server *server = calloc(1, sizeof *server);

	if (!server) {
		config_free(config);
		return -ENOMEM;
	}
	server->config = *config;
	server->host = (struct session_host){
		.events = {.message = request_handle,
			   .changed = on_sessions_changed,
			   .context = server},
		.config = &server->config,
		.holes_fd = holes_open(),
		.began_ns = monotonic_ns(),
	};
	LIST_INIT(&server->host.sessions);
	acceptor_init(&server->acceptor, &server->host);
	if (server->host.holes_fd < 0)
		log_message(LOG_NOTICE, NULL,
			    "no userfaultfd(2) (%s): pages that clients punch out of regions are "
			    "charged "
			    "to vdmd when they are used again",
			    strerror(-server->host.holes_fd));
	server->host.note_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	int result = set_up(server);

	if (result) {
		server_free(server);
		return result;
	}
	*out = server;
	return 0;
}

/* Returns whether all have ended: not those whose memory keeps a worker in the kernel. */
static bool end_all_sessions(struct server *server)
{
	struct session_host *host = &server->host;
	struct pollfd watch = {.fd = engine_supervisor_fd(host->engine), .events = POLLIN};
	const uint64_t end = monotonic_ns() + PATIENCE_NS;
	struct session *session, *next;

	for (session = LIST_FIRST(&host->sessions); session; session = next) {
		next = LIST_NEXT(session, entry);
		session_end(session);
	}
	while (!LIST_EMPTY(&host->sessions) && monotonic_ns() < end)
		if (poll(&watch, 1, 10) > 0)
			engine_supervise(host->engine);
	return LIST_EMPTY(&host->sessions);
}

void server_free(struct server *server)
{
	struct session_host *host = &server->host;

	server->announcing = false;
	host->stopping = true;
	acceptor_close(&server->acceptor);
	if (host->engine && !end_all_sessions(server)) {
		log_message(LOG_WARNING, NULL,
			    "a worker still waits for a client's memory: the kernel ends it");
		return;
	}
	reaper_free(host->reaper);
	users_sweep(&host->users, true);
	prefault_free(host->prefault);
	sd_event_source_disable_unref(server->on_watch);
	engine_delete(host->engine);
	sd_event_source_disable_unref(server->on_note);
	sd_event_unref(host->event);
	if (host->note_fd >= 0)
		close(host->note_fd);
	if (host->holes_fd >= 0)
		close(host->holes_fd);
	config_free(&server->config);
	free(server);
}

void server_announce(struct server *server)
{
	const uint64_t *used = server->host.users.book.used;

	if (server->announcing)
		sd_notifyf(0,
			   "STATUS=%llu sessions, %llu rings, %llu MiB in %llu regions; %u workers",
			   (unsigned long long)used[RESOURCE_SESSIONS],
			   (unsigned long long)used[RESOURCE_RINGS],
			   (unsigned long long)(used[RESOURCE_MAPPED_BYTES] >> 20),
			   (unsigned long long)used[RESOURCE_REGIONS],
			   engine_workers(server->host.engine));
}

void server_look_again(struct server *server)
{
	struct session *session, *next;

	for (session = LIST_FIRST(&server->host.sessions); session; session = next) {
		next = LIST_NEXT(session, entry);
		session_look_again(session);
	}
}

static void needs_restart(const char *section, const char *name)
{
	log_message(LOG_WARNING, NULL,
		    "the new value of %s in [%s] takes effect at the next restart", name, section);
}

void server_reconfigure(struct server *server, struct config *fresh)
{
	config_apply(&server->config, fresh, needs_restart);
	log_set_level((int)server->config.log_level);
	engine_set_spin(server->host.engine, (uint32_t)server->config.spin_us);
	users_configure(&server->host.users);
}
