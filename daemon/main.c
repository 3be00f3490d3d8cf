/* SPDX-License-Identifier: BSD-3-Clause */
/* vdmd(8): from the command line to the event loop and back. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "base/clock.h"
#include "books.h"
#include "engine/engine.h"
#include "filer.h"
#include "log.h"
#include "options.h"
#include "porter.h"
#include "server.h"

/* Lease of a session, doorbell and event of a ring, and one on its way; those of event loop and
 * workers. */
#define DESCRIPTORS_PER_SESSION 4

/* How long to wait when the event loop has no memory. */
#define MEMORY_RETRY_NS 100000000

/*
 * How long a daemon with a mistake in its configuration tells that to clients, before it exits.
 * systemd's default limit is five starts in ten seconds.
 */
#define TURN_AWAY_SECONDS 5

struct service {
	const struct options *options;
	struct server *server;
};

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *signal, void *context)
{
	struct service *service = context;

	(void)source;
	sd_notify(0, "STOPPING=1");
	log_message(LOG_INFO, NULL, "stopping at signal %u", signal->ssi_signo);
	acceptor_close(&service->server->acceptor);
	return sd_event_exit(service->server->event, 0);
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *signal, void *context)
{
	struct service *service = context;
	char error[CONFIG_ERROR_TEXT];
	struct config fresh;

	(void)source;
	(void)signal;
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
		   (unsigned long long)(monotonic_ns() / 1000));
	if (options_configure(service->options, &fresh, error) < 0) {
		log_message(LOG_ERR, NULL, "%s; the configuration stays as it was", error);
	} else {
		server_reconfigure(service->server, &fresh);
		log_message(LOG_INFO, NULL, "configuration reloaded");
	}
	sd_notify(0, "READY=1");
	return 0;
}

/* Feed the service manager's watchdog while every worker that is awake makes progress. */
static int on_watchdog(sd_event_source *source, uint64_t usec, void *context)
{
	struct service *service = context;
	uint64_t interval;

	(void)usec;
	if (engine_healthy(service->server->house.engine))
		sd_notify(0, "WATCHDOG=1");
	else
		log_message(LOG_ERR, NULL, "a worker makes no progress: the watchdog is not fed");
	if (sd_watchdog_enabled(0, &interval) > 0)
		sd_event_source_set_time_relative(source, interval / 3);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int add_handlers(struct service *service)
{
	sd_event *event = service->server->event;
	uint64_t interval;
	int result = sd_event_add_signal(event, NULL, SIGTERM, on_stop, service);

	if (result >= 0)
		result = sd_event_add_signal(event, NULL, SIGINT, on_stop, service);
	if (result >= 0)
		result = sd_event_add_signal(event, NULL, SIGHUP, on_reload, service);
	/* the only timer of an idle daemon, where the service manager asks for it */
	if (result >= 0 && sd_watchdog_enabled(0, &interval) > 0)
		result = sd_event_add_time_relative(event, NULL, CLOCK_MONOTONIC, interval / 3, 0,
						    on_watchdog, service);
	return result;
}

/*
 * The event loop alone takes signals. Called before any thread is started, as threads inherit the
 * mask.
 */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* by default it ends the process, and one of the same user can have it sent, fcntl(2) */
	signal(SIGIO, SIG_IGN);
}

/* Each session and each ring takes two descriptors, so use the hard limit. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/*
 * Warn at the start if there are too few descriptors for the limits. Returns whether at least one
 * client can be served, which gets half of them.
 */
static bool descriptors_suffice(const struct config *config)
{
	const uint64_t needed =
		config->limits.sessions * DESCRIPTORS_PER_SESSION + DESCRIPTORS_OF_OWN;
	const unsigned least = 2 * DESCRIPTORS_PER_SESSION + DESCRIPTORS_OF_OWN;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return true;
	if (limit.rlim_cur < least) {
		log_message(
			LOG_ERR, NULL,
			"%llu descriptors (LimitNOFILE= of its unit, ulimit -n) are too few to serve "
			"anything: at least %u are needed",
			(unsigned long long)limit.rlim_cur, least);
		return false;
	}
	if (limit.rlim_cur < needed)
		log_message(LOG_WARNING, NULL,
			    "%llu descriptors (LimitNOFILE) are too few for the %llu sessions that "
			    "the configuration allows: %llu are needed, or fewer sessions",
			    (unsigned long long)limit.rlim_cur,
			    (unsigned long long)config->limits.sessions,
			    (unsigned long long)needed);
	return true;
}

/* Before threads are started, and before other descriptors are opened. */
static int start_server(struct service *service, struct config *config)
{
	static const spawner_mains mains = {
		[SPAWNER_PORTER] = porter_main, [SPAWNER_FILER] = filer_main};
	struct spawner spawner;
	int result = spawner_start(&spawner, &mains);

	if (result) {
		config_free(config);
		log_message(LOG_ERR, NULL, "cannot start a process: %s", strerror(-result));
		return result;
	}
	return server_new(config, &spawner, &service->server);
}

static int start(struct service *service, struct config *config)
{
	char error[512];
	struct listener listener;
	int result = start_server(service, config);

	if (result) {
		if (result == -EAGAIN)
			log_message(
				LOG_ERR, NULL,
				"cannot start the workers: there are as many threads as there may be "
				"(TasksMax= of its unit, ulimit -u): allow more, or lower workers");
		else
			log_message(LOG_ERR, NULL, "cannot start: %s", strerror(-result));
		return result;
	}
	result = listener_open(service->server->config.socket, &listener, error, sizeof error);
	if (result) {
		log_message(LOG_ERR, NULL, "%s", error);
	} else {
		result = acceptor_listen(&service->server->acceptor, &listener);
		if (!result)
			result = add_handlers(service);
		if (result < 0)
			log_message(LOG_ERR, NULL, "cannot set up the event loop: %s",
				    strerror(-result));
	}
	if (result < 0)
		server_free(service->server);
	return result < 0 ? result : 0;
}

/* Run the event loop until a handler ends it. */
static int run_loop(struct server *server)
{
	int result;

	/* sd_event_wait(3) allocates memory for events. When that fails, those that are
	 * level-triggered come again. */
	for (bool first = true; (result = sd_event_loop(server->event)) == -ENOMEM; first = false) {
		if (first)
			log_message(
				LOG_ERR, NULL,
				"the event loop is out of memory: it goes on when there is some");
		nanosleep(&(struct timespec){.tv_nsec = MEMORY_RETRY_NS}, NULL);
	}
	return result;
}

/* Show the mistake to the operator alone. Clients are told where to look. */
static void turn_away(const char *mistake)
{
	sd_notifyf(0, "STATUS=Cannot serve: %s", mistake);
	listener_turn_away(
		TURN_AWAY_SECONDS,
		"vdmd cannot serve, for there is a mistake in its configuration: correct it "
		"(systemctl status vdmd tells where), and restart vdmd");
}

int main(int argc, char **argv)
{
	char error[CONFIG_ERROR_TEXT];
	struct options options;
	struct config config;

	log_open();
	if (options_parse(&options, argc, argv) < 0) {
		turn_away("an option that is wrong");
		return EXIT_USAGE;
	}
	if (options_configure(&options, &config, error) < 0) {
		log_message(LOG_ERR, NULL, "%s", error);
		if (!options.check_config && !options.print_config)
			turn_away(error);
		return EXIT_USAGE;
	}
	if (options.check_config || options.print_config) {
		if (options.print_config)
			config_print(&config, stdout);
		config_free(&config);
		return EXIT_SUCCESS;
	}
	log_set_level((int)config.log_level);
	block_signals();
	raise_descriptor_limit();
	if (!descriptors_suffice(&config)) {
		config_free(&config);
		return EXIT_FAILURE;
	}

	struct service service = {.options = &options};

	if (start(&service, &config) != 0)
		return EXIT_FAILURE;

	struct server *server = service.server;

	log_message(LOG_INFO, NULL, "vdmd %s serves %s with %u workers", VDM_VERSION,
		    server->acceptor.listener.path ? server->acceptor.listener.path
						   : "the socket of its unit",
		    engine_workers(server->house.engine));
	sd_notify(0, "READY=1");

	int result = run_loop(server);

	server_free(server);
	if (result < 0)
		log_message(LOG_ERR, NULL, "the event loop failed: %s", strerror(-result));
	return result < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
