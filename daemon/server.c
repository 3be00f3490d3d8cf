/* SPDX-License-Identifier: BSD-3-Clause */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "holes.h"
#include "log.h"
#include "refusal.h"

/* Connections that are accepted before other events' turn. */
#define ACCEPTS_AT_ONCE 16

/* When the kernel has no memory for a connection, it is tried again after so long. */
#define ACCEPT_RETRY_US 100000

/* Their memory is worth giving back when a quarter is left of so many sessions. */
#define MANY_SESSIONS 32

/* At the end, a worker that is stuck is left to the kernel. */
#define PATIENCE_NS 500000000

/* Workers have found violations: end those sessions. */
static int on_violation(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct server *server = context;
	struct session *session, *next;
	eventfd_t count;

	(void)source;
	(void)events;
	eventfd_read(fd, &count);
	for (session = LIST_FIRST(&server->sessions); session; session = next) {
		/* acquire; partner: request.c, note_violation(), release */
		const char *reason =
			atomic_load_explicit(&session->violation, memory_order_acquire);

		next = LIST_NEXT(session, entry);
		if (session->ending)
			continue;
		/* the same partner: note_over_limit() */
		if (atomic_exchange_explicit(&session->over_limit, false, memory_order_acquire))
			log_limited(LOG_WARNING, &session->peer,
				    "refused: an operation that would have had the user exceed "
				    "in_flight_bytes_per_user, %llu",
				    (unsigned long long)session->user->settings.limits.in_flight_bytes_per_user);
		if (reason)
			session_violated(session, reason);
	}
	return 0;
}

static int on_watch(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct server *server = context;

	(void)source;
	(void)fd;
	(void)events;
	engine_supervise(server->engine);
	return 0;
}

static int open_reserve(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int server_new(struct config *config, struct server **out)
{
	struct server *server = calloc(1, sizeof *server);

	if (!server) {
		config_free(config);
		return -ENOMEM;
	}
	server->config = *config;
	server->listener = (struct listener){.fd = -1, .lock_fd = -1};
	server->began_ns = monotonic_ns();
	LIST_INIT(&server->sessions);
	server->reserve_fd = open_reserve();
	server->violation_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	server->holes_fd = holes_open();
	if (server->holes_fd < 0)
		log_message(LOG_NOTICE, NULL, "no userfaultfd(2) (%s): pages that clients punch out of regions are charged "
			    "to vdmd when they are used again", strerror(-server->holes_fd));

	int result = server->violation_fd < 0 ? -errno : sd_event_new(&server->event);

	if (result >= 0)
		result = sd_event_add_io(server->event, &server->on_violation, server->violation_fd,
					 EPOLLIN, on_violation, server);
	if (result >= 0) {
		struct engine_options options = {
			.workers = (unsigned)config->workers,
			.spin_us = (uint32_t)config->spin_us,
			.pin = config->pin,
			.supervised = true,
			.guard_faults = true,
		};

		result = engine_new(&options, &server->engine);
	}
	users_init(&server->users, server->engine, &server->config);
	if (result >= 0)
		result = sd_event_add_io(server->event, &server->on_watch, engine_supervisor_fd(server->engine), EPOLLIN,
					 on_watch, server);
	if (result >= 0)
		result = reaper_new(server->event, &server->reaper);
	if (result >= 0)
		result = prefault_new(&server->prefault);
	if (result < 0) {
		server_free(server);
		return result;
	}
	*out = server;
	return 0;
}

/* Returns whether all have ended: none if a worker stays at it that waits for its client's memory. */
static bool end_all_sessions(struct server *server)
{
	struct pollfd watch = {.fd = engine_supervisor_fd(server->engine), .events = POLLIN};
	const uint64_t end = monotonic_ns() + PATIENCE_NS;
	struct session *session, *next;

	for (session = LIST_FIRST(&server->sessions); session; session = next) {
		next = LIST_NEXT(session, entry);
		if (session->ending)
			session_go_on(session);
		else
			session_end(session);
	}
	while (!LIST_EMPTY(&server->sessions) && monotonic_ns() < end)
		if (poll(&watch, 1, 10) > 0)
			engine_supervise(server->engine);
	return LIST_EMPTY(&server->sessions);
}

void server_free(struct server *server)
{
	server->announcing = false;
	server->stopping = true;
	server_stop_listening(server);
	if (server->engine && !end_all_sessions(server)) {
		log_message(LOG_WARNING, NULL, "a worker still waits for a client's memory: the kernel ends it");
		return;
	}
	reaper_free(server->reaper);
	users_sweep(&server->users, true);
	prefault_free(server->prefault);
	sd_event_source_disable_unref(server->on_watch);
	engine_delete(server->engine);
	sd_event_source_disable_unref(server->on_violation);
	sd_event_unref(server->event);
	if (server->violation_fd >= 0)
		close(server->violation_fd);
	if (server->holes_fd >= 0)
		close(server->holes_fd);
	if (server->reserve_fd >= 0)
		close(server->reserve_fd);
	config_free(&server->config);
	free(server);
}

/* All descriptors are taken. With the one in reserve the newcomer is accepted, told and turned away: if he
 * stayed in the queue, the event loop would spin on it. */
static int accept_in_distress(struct server *server, int listen_fd)
{
	if (server->reserve_fd < 0)
		return -EMFILE;
	close(server->reserve_fd);

	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int error = fd < 0 ? errno : 0;

	if (!error) {
		refusal_send(fd, VDM_MESSAGE_HELLO, -EMFILE, "vdmd is out of descriptors: raise LimitNOFILE of its service");
		shutdown(fd, SHUT_RDWR);
		reaper_close_socket(server->reaper, NULL, fd);
		server->refused++;
	}
	server->reserve_fd = open_reserve();
	return -error;
}

void server_count_sessions(struct server *server)
{
	const uint64_t sessions = server->users.book.used[RESOURCE_SESSIONS];

	if (sessions > server->most_sessions)
		server->most_sessions = sessions;
	if (server->most_sessions < MANY_SESSIONS || sessions > server->most_sessions / 4)
		return;
	server->most_sessions = sessions;
#ifdef __GLIBC__
	malloc_trim(0); /* by itself it gives back the end of its heap alone */
#endif
}

void server_accept_again(struct server *server)
{
	sd_event_source *retry = server->listener.on_retry;

	if (!retry)
		return;
	if (server->reserve_fd < 0)
		server->reserve_fd = open_reserve();
	/* that needs memory too: epoll_ctl(2) */
	if (sd_event_source_set_enabled(server->listener.on_connection, SD_EVENT_ON) < 0) {
		sd_event_source_set_time_relative(retry, ACCEPT_RETRY_US);
		sd_event_source_set_enabled(retry, SD_EVENT_ONESHOT);
		return;
	}
	server->listener.on_retry = sd_event_source_disable_unref(retry);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *context)
{
	(void)source;
	(void)usec;
	server_accept_again(context);
	return 0;
}

/* Look away from the socket for a moment, or until a session ends. */
static void retry_later(struct server *server)
{
	if (sd_event_add_time_relative(server->event, &server->listener.on_retry, CLOCK_MONOTONIC,
				       ACCEPT_RETRY_US, ACCEPT_RETRY_US / 10, on_retry, server) >= 0)
		sd_event_source_set_enabled(server->listener.on_connection, SD_EVENT_OFF);
}

static int on_connection(sd_event_source *source, int listen_fd, uint32_t events, void *context)
{
	struct server *server = context;

	(void)source;
	(void)events;
	for (unsigned i = 0; i < ACCEPTS_AT_ONCE; i++) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		int error = fd < 0 ? errno : 0;

		if (fd >= 0)
			session_begin(server, fd);
		else if (error == EAGAIN)
			break;
		else if (error == EMFILE || error == ENFILE)
			error = -accept_in_distress(server, listen_fd);
		if (error == EMFILE || error == ENOMEM || error == ENOBUFS || error == ENFILE) {
			retry_later(server);
			break;
		}
	}
	return 0;
}

int server_listen(struct server *server, struct listener *listener)
{
	server->listener = *listener;

	int result = sd_event_add_io(server->event, &server->listener.on_connection,
				     server->listener.fd, EPOLLIN, on_connection, server);

	return result < 0 ? result : 0;
}

void server_stop_listening(struct server *server)
{
	listener_close(&server->listener);
}

void server_announce(struct server *server)
{
	const uint64_t *used = server->users.book.used;

	if (server->announcing)
		sd_notifyf(0, "STATUS=%llu sessions, %llu rings, %llu MiB in %llu regions; %u workers",
			   (unsigned long long)used[RESOURCE_SESSIONS], (unsigned long long)used[RESOURCE_RINGS],
			   (unsigned long long)(used[RESOURCE_MAPPED_BYTES] >> 20),
			   (unsigned long long)used[RESOURCE_REGIONS], engine_workers(server->engine));
}

static void needs_restart(const char *section, const char *name)
{
	log_message(LOG_WARNING, NULL, "the new value of %s in [%s] takes effect at the next restart",
		    name, section);
}

void server_reconfigure(struct server *server, struct config *fresh)
{
	config_apply(&server->config, fresh, needs_restart);
	log_set_level((int)server->config.log_level);
	engine_set_spin(server->engine, (uint32_t)server->config.spin_us);
	users_configure(&server->users);
}
