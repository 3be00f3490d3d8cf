/* SPDX-License-Identifier: BSD-3-Clause */
#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "clerk.h"
#include "engine/engine.h"
#include "holes.h"
#include "log.h"

/* How long the end waits for clerks that clients' memory keeps in the kernel. */
#define PATIENCE_NS 500000000

static int on_watch(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct server *server = context;

	(void)source;
	(void)fd;
	(void)events;
	engine_supervise(server->house.engine);
	return 0;
}

/* Without it, no user can be served that has no porter. */
static int on_spawner_end(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct server *server = context;

	(void)source;
	(void)fd;
	(void)events;
	log_message(LOG_ERR, NULL, "the process that starts porters has ended");
	return sd_event_exit(server->event, -ECHILD);
}

static int start_engine(struct server *server)
{
	const struct engine_options options = {
		.workers = (unsigned)server->config.workers,
		.spin_us = (uint32_t)server->config.spin_us,
		.pin = server->config.pin,
		.supervised = true,
		.guard_faults = true,
	};

	return engine_new(&options, &server->house.engine);
}

static int set_up(struct server *server)
{
	struct house *house = &server->house;
	int result = sd_event_new(&server->event);

	if (result >= 0)
		result = start_engine(server);
	users_init(&house->users, house->config);
	acceptor_init(&server->acceptor, house, server->event);
	if (result >= 0)
		result = sd_event_add_io(server->event, &server->on_watch,
					 engine_supervisor_fd(house->engine), EPOLLIN, on_watch,
					 server);
	if (result >= 0)
		result = sd_event_add_io(server->event, &server->on_spawner, house->spawner.births,
					 EPOLLIN, on_spawner_end, server);
	return result < 0 ? result : 0;
}

static void init_house(struct house *house, const struct config *config,
		       const struct spawner *spawner)
{
	pthread_condattr_t monotonic;

	house->spawner = *spawner;
	house->config = config;
	house->holes_fd = holes_open();
	house->began_ns = monotonic_ns();
	TAILQ_INIT(&house->sessions);
	LIST_INIT(&house->clerks);
	LIST_INIT(&house->filings);
	pthread_mutex_init(&house->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&house->clerk_gone, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if (house->holes_fd < 0)
		log_message(LOG_NOTICE, NULL,
			    "no userfaultfd(2) (%s): pages that clients punch out of regions are "
			    "charged to vdmd when they are used again",
			    strerror(-house->holes_fd));
}

int server_new(struct config *config, const struct spawner *spawner, struct server **out)
{
	struct server *server = calloc(1, sizeof *server);
	struct spawner unused = *spawner;

	if (!server) {
		config_free(config);
		spawner_stop(&unused);
		return -ENOMEM;
	}
	server->config = *config;
	init_house(&server->house, &server->config, spawner);

	int result = set_up(server);

	if (result) {
		server_free(server);
		return result;
	}
	*out = server;
	return 0;
}

/*
 * Returns whether all have ended: not those whose memory keeps a worker or their clerk in the
 * kernel.
 */
static bool end_clerks(struct server *server)
{
	struct house *house = &server->house;
	const uint64_t end_ns = monotonic_ns() + PATIENCE_NS;
	const struct timespec end = {.tv_sec = (time_t)(end_ns / 1000000000),
				     .tv_nsec = (long)(end_ns % 1000000000)};

	house_lock(house);
	house->stopping = true;
	clerks_stop(house);
	while (!LIST_EMPTY(&house->clerks) &&
	       pthread_cond_timedwait(&house->clerk_gone, &house->lock, &end) != ETIMEDOUT)
		;
	bool all = LIST_EMPTY(&house->clerks);

	house_unlock(house);
	return all;
}

void server_free(struct server *server)
{
	struct house *house = &server->house;

	acceptor_close(&server->acceptor);
	if (house->engine && !end_clerks(server)) {
		log_message(LOG_WARNING, NULL,
			    "a thread still waits for a client's memory: the kernel ends it");
		return;
	}
	users_sweep(&house->users, true);
	sd_event_source_disable_unref(server->on_watch);
	sd_event_source_disable_unref(server->on_spawner);
	engine_delete(house->engine);
	spawner_stop(&house->spawner);
	sd_event_unref(server->event);
	if (house->holes_fd >= 0)
		close(house->holes_fd);
	pthread_cond_destroy(&house->clerk_gone);
	pthread_mutex_destroy(&house->lock);
	config_free(&server->config);
	free(server);
}

static void needs_restart(const char *section, const char *name)
{
	log_message(LOG_WARNING, NULL,
		    "the new value of %s in [%s] takes effect at the next restart", name, section);
}

void server_reconfigure(struct server *server, struct config *fresh)
{
	house_lock(&server->house);
	config_apply(&server->config, fresh, needs_restart);
	users_configure(&server->house.users);
	house_unlock(&server->house);
	log_set_level((int)server->config.log_level);
	engine_set_spin(server->house.engine, (uint32_t)server->config.spin_us);
}
