/* SPDX-License-Identifier: BSD-3-Clause */
#include "filer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/barrier.h"
#include "base/clock.h"
#include "drain.h"
#include "engine/engine.h"
#include "filer_jail.h"
#include "filer_message.h"
#include "holes.h"
#include "log.h"
#include "op/files.h"
#include "populate.h"
#include "proto/passing.h"
#include "refusal.h"
#include "request.h"
#include "ring.h"
#include "session.h"
#include "visit.h"

/* Messages of the daemon that are handled before other events have their turn. */
#define MESSAGES_AT_ONCE 16

/* How soon to try again when the kernel has no memory. */
#define RETRY_MS 10

/*
 * Copies between memories have other users' CPUs to themselves: on two CPUs, beside 1 GiB of file
 * work in flight, the median of a copy of 4 KiB was 240 ns with this, and 37 us without.
 */
#define NICE 5

struct filer {
	int daemon; /* socket */
	sd_event *event;
	sd_event_source *on_idle; /* enabled while pages are to be mapped */
	struct house house;
	struct config config; /* sessions take offload_threshold of it */
	struct user user;     /* the only one */
	struct engine_account *account;
	struct notes notes;
	struct populate_list populating;
	LIST_HEAD(, visit) visits;
};

/* A client of the filer: its connection, and what it holds. */
struct filer_client {
	struct filer *filer;
	struct visit *visit;
	struct session *session;
	struct note left_note; /* it has gone or has to go */
};

/* The kernel ends the filer, and lets nothing linger. The daemon notices. */
static _Noreturn void give_up(void)
{
	_exit(EXIT_FAILURE);
}

static void tell(const struct filer *filer, const struct filer_message *message)
{
	/* what there is no room for is a line of the log less */
	passing_send(filer->daemon, message, sizeof *message, NULL, 0, MSG_DONTWAIT);
}

static void tell_violation(const struct filer_client *client, const char *reason)
{
	struct filer_message message = {.type = FILER_VIOLATED,
					.value = client->session->peer.pid,
					.session = client->session->number};

	snprintf(message.reason, sizeof message.reason, "%s", reason);
	tell(client->filer, &message);
}

/* A worker has found out that the client broke the protocol. */
static void on_violation(void *context)
{
	struct filer_client *client = context;

	/* acquire; partner: session_note_violation(), release */
	tell_violation(client,
		       atomic_load_explicit(&client->session->violation, memory_order_acquire));
	visit_give_up(client->visit);
}

/* The client is told with the operation's result. */
static void on_over_limit(void *context)
{
	const struct filer_client *client = context;

	log_limited(LOG_WARNING, &client->session->peer,
		    "refused: an operation on a file that would have had the user exceed "
		    "in_flight_bytes_per_user, %llu",
		    (unsigned long long)client->session->limits.in_flight_bytes_per_user);
}

static void receive_bells(struct ring *ring, bool last)
{
	drain(ring->doorbell_fd);
	/* the doorbell may have been full, and the client may have rung in vain */
	if (!last)
		engine_queue_look(ring->queue);
}

/* Not by the visit's callback, after which the visit goes on. */
static void on_left_note(void *context)
{
	struct filer_client *client = context;

	session_empty(client->session);
	visit_hang_up(client->visit);
}

static void on_opened(struct visit *visit, const char command[VDM_COMMAND_TEXT])
{
	const struct filer_client *client = visit->context;

	session_name(client->session, command);
}

static void on_asked(struct visit *visit, const union vdm_message *message, size_t size)
{
	struct filer_client *client = visit->context;
	struct passed passed = {.process = -1, .fd = visit->passed};
	const struct request request = {
		.message = message, .size = size, .to = VDM_TO_FILER, .passed = &passed};
	union vdm_message content = {0};
	struct answer answer = {.message = &content};
	const char *reason = NULL;
	int result = request_handle(client->session, &request, &answer, &reason);

	visit->passed = passed.fd;
	if (reason)
		tell_violation(client, reason);
	if (result)
		visit_give_up(visit);
	else
		visit_answer(visit, &content, answer.fds, answer.fd_count);
	for (unsigned i = 0; i < answer.fd_count; i++)
		close(answer.fds[i]);
	if (!TAILQ_EMPTY(&client->filer->populating))
		sd_event_source_set_enabled(client->filer->on_idle, SD_EVENT_ON);
}

static void on_left(struct visit *visit, enum porter_reason reason)
{
	struct filer_client *client = visit->context;
	const char *violation = visit_violation((int32_t)reason);

	client->visit = visit;
	if (violation)
		tell_violation(client, violation);
	notes_leave(&client->filer->notes, &client->left_note);
}

static void client_free(struct filer_client *client)
{
	struct house *house = &client->filer->house;
	struct notes *notes = &client->filer->notes;

	notes_forget(notes, &client->session->violated_note);
	notes_forget(notes, &client->session->over_limit_note);
	house_lock(house);
	session_free(client->session);
	house_unlock(house);
	free(client);
}

static void on_gone(struct visit *visit)
{
	client_free(visit->context);
}

static const struct visit_host host = {
	.to = VDM_TO_FILER,
	.opened = on_opened,
	.asked = on_asked,
	.left = on_left,
	.gone = on_gone,
};

/* The configuration may have changed since the last client came. */
static void configure(struct filer *filer, const struct filer_client_settings *settings)
{
	filer->user.settings = settings->user;
	user_set_account(&filer->user, filer->account);
	filer->config.offload_threshold = settings->offload_threshold;
}

/* Each session with the daemon has one connection: another takes the place of the one before. */
static void end_connection(struct filer *filer, uint64_t session)
{
	struct visit *visit;

	LIST_FOREACH(visit, &filer->visits, entry)
		if (visit->session == session)
			visit_give_up(visit);
	notes_take(&filer->notes);
}

static int open_session(struct filer_client *client, const struct filer_message *message,
			char text[VDM_REFUSAL_TEXT])
{
	struct filer *filer = client->filer;
	const struct log_peer peer = {.limit = &filer->user.log_limit,
				      .pid = message->value,
				      .uid = filer->user.settings.uid};
	struct session *session;

	house_lock(&filer->house);
	int result = session_new(&filer->house, &filer->user, &peer, -1, &session, text);

	house_unlock(&filer->house);
	if (result)
		return result;
	session->number = message->session;
	session->account = filer->account;
	session->receive_bells = receive_bells;
	session->notes = &filer->notes;
	session->populating = &filer->populating;
	session->violated_note = (struct note){.take = on_violation, .context = client};
	session->over_limit_note = (struct note){.take = on_over_limit, .context = client};
	client->session = session;
	return 0;
}

/* Returns 0, and then the descriptors are the visit's; or a negative errno with a sentence. */
static int open_visit(struct filer_client *client, const struct filer_message *message,
		      const int *fds, char text[VDM_REFUSAL_TEXT])
{
	const struct vdm_message_welcome welcome =
		session_welcome(client->session, VDM_FEATURE_FILES);
	const struct visitor visitor = {.session = message->session,
					.socket = fds[FILER_CLIENT_SOCKET],
					.lease = client->session->clients_lease,
					.peer = fds[FILER_CLIENT_END],
					.welcome = &welcome};
	struct visit *visit = visit_begin(client->filer->event, &host, client, &visitor);

	if (!visit)
		return refuse(text, -ENOMEM, "vdmd is out of memory");
	client->session->clients_lease = -1; /* it is the visit's */
	client->visit = visit;
	LIST_INSERT_HEAD(&client->filer->visits, visit, entry);
	return 0;
}

/* Returns whether the descriptors have been taken over. */
static bool begin(struct filer *filer, const struct filer_message *message, const int *fds)
{
	struct filer_client *client = calloc(1, sizeof *client);
	char text[VDM_REFUSAL_TEXT] = "vdmd is out of memory";
	int result = client ? 0 : -ENOMEM;

	configure(filer, &message->client);
	end_connection(filer, message->session);
	if (client) {
		client->filer = filer;
		client->left_note = (struct note){.take = on_left_note, .context = client};
		result = open_session(client, message, text);
	}
	if (client && client->session) {
		result = open_visit(client, message, fds, text);
		if (result) {
			session_empty(client->session);
			client_free(client);
			client = NULL;
		}
	}
	if (!result)
		return true;
	refusal_send(fds[FILER_CLIENT_SOCKET], VDM_MESSAGE_HELLO, result, text);
	free(client);
	return false;
}

/* The event loop would call again at once. */
static void wait_for_memory(int result)
{
	if (passing_may_retry(result))
		poll(NULL, 0, RETRY_MS);
}

/* Receive a message of the daemon. Returns 0, -EAGAIN, or what passing_may_retry(). */
static int receive(struct filer *filer, int flags, struct filer_message *message,
		   int fds[FILER_MOST_FDS], unsigned *count)
{
	struct passing passing = {
		.bytes = message, .size = sizeof *message, .fds = fds, .fd_count = FILER_MOST_FDS};
	int result;

	memset(message, 0, sizeof *message);
	result = passing_receive(filer->daemon, &passing, flags);
	wait_for_memory(result);
	if (result == -EAGAIN || passing_may_retry(result))
		return result;
	if (result || passing.size == 0)
		give_up(); /* the daemon has ended, or its clerk */
	*count = passing.fd_count;
	return 0;
}

/* Returns whether there may be another message. */
static bool obey(struct filer *filer)
{
	struct filer_message message;
	int fds[FILER_MOST_FDS];
	unsigned count;

	if (receive(filer, MSG_DONTWAIT, &message, fds, &count))
		return false;
	/* without room for its descriptors the client finds itself hung up on */
	if (message.type == FILER_CLIENT && count == FILER_CLIENT_FDS &&
	    begin(filer, &message, fds))
		return true;
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
	return true;
}

static int on_daemon(sd_event_source *source, int fd, uint32_t events, void *context)
{
	(void)source;
	(void)fd;
	(void)events;
	for (unsigned i = 0; i < MESSAGES_AT_ONCE && obey(context); i++)
		;
	return 0;
}

static int on_notes(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct filer *filer = context;

	(void)source;
	(void)fd;
	(void)events;
	notes_take(&filer->notes);
	return 0;
}

static int on_idle(sd_event_source *source, void *context)
{
	struct filer *filer = context;

	populate_step(&filer->populating);
	return TAILQ_EMPTY(&filer->populating) ? sd_event_source_set_enabled(source, SD_EVENT_OFF)
					       : 0;
}

/* All descriptors of the loop are had now, since the jail allows none later. */
static int open_loop(struct filer *filer)
{
	sd_event_source *timer;
	int result = sd_event_new(&filer->event);

	if (result >= 0)
		result = sd_event_add_time(filer->event, &timer, CLOCK_MONOTONIC, UINT64_MAX, 0,
					   NULL, NULL);
	if (result >= 0)
		sd_event_source_disable_unref(timer); /* its descriptor stays */
	if (result >= 0)
		result = sd_event_add_io(filer->event, NULL, filer->daemon, EPOLLIN, on_daemon,
					 filer);
	if (result >= 0)
		result = sd_event_add_io(filer->event, NULL, filer->notes.fd, EPOLLIN, on_notes,
					 filer);
	if (result >= 0)
		result = sd_event_add_defer(filer->event, &filer->on_idle, on_idle, filer);
	if (result >= 0)
		result = sd_event_source_set_priority(filer->on_idle, SD_EVENT_PRIORITY_IDLE);
	if (result >= 0)
		result = sd_event_source_set_enabled(filer->on_idle, SD_EVENT_OFF);
	return result < 0 ? result : 0;
}

static int open_engine(struct filer *filer, uint32_t spin_us, struct files_counters *counters)
{
	const struct files_options how = {.counters = counters};
	struct house *house = &filer->house;
	int result = files_new(&how, &house->files);

	if (result)
		return result;

	/* the worker hands operations on, and copies only between regions of memory */
	const struct engine_options options = {.workers = 1,
					       .spin_us = spin_us,
					       .guard_faults = true,
					       .backend = files_backend(house->files)};

	result = engine_new(&options, &house->engine);
	return result ? result : engine_account_new(house->engine, &filer->account);
}

/* Of the only user. It is never idle. */
static void init_house(struct filer *filer)
{
	struct house *house = &filer->house;

	pthread_mutex_init(&house->lock, NULL);
	house->config = &filer->config;
	house->holes_fd = holes_open();
	house->began_ns = monotonic_ns();
	TAILQ_INIT(&house->sessions);
	filer->user.references = 1;
	filer->user.book.settings = &filer->user.settings;
}

/* Open everything that there is to be. Returns 0 or a negative errno. */
static int open_all(struct filer *filer)
{
	struct filer_message message;
	void *counters = MAP_FAILED;
	int fds[FILER_MOST_FDS], result;
	unsigned count;

	do
		result = receive(filer, 0, &message, fds, &count);
	while (result);
	if (message.type == FILER_BEGIN && count == FILER_BEGIN_FDS)
		counters = mmap(NULL, sizeof(struct files_counters), PROT_READ | PROT_WRITE,
				MAP_SHARED, fds[FILER_BEGIN_COUNTERS], 0);
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
	if (counters == MAP_FAILED)
		return -EPROTO;
	barrier_is_asymmetric(); /* finds that out now */
	TAILQ_INIT(&filer->populating);
	LIST_INIT(&filer->visits);
	init_house(filer);
	result = notes_open(&filer->notes);
	if (!result)
		result = open_engine(filer, (uint32_t)message.value, counters);
	return result ? result : open_loop(filer);
}

static void tell_ready(const struct filer *filer)
{
	struct filer_message ready = {.type = FILER_READY};

	files_use_uring(filer->house.files, &ready.value);
	tell(filer, &ready);
}

struct filer *filer_new(int daemon)
{
	struct filer *filer = calloc(1, sizeof *filer);

	if (!filer)
		return NULL;
	filer->daemon = daemon;
	return open_all(filer) < 0 ? NULL : filer; /* what it has is left to its process's end */
}

sd_event *filer_event(const struct filer *filer)
{
	return filer->event;
}

_Noreturn void filer_main(int daemon)
{
	struct filer *filer;

	prctl(PR_SET_NAME, "vdmd-filer");
	/* before threads are started, which inherit it; a preference, which may be refused */
	setpriority(PRIO_PROCESS, 0, NICE);
	filer = filer_new(daemon);
	if (!filer || filer_jail() < 0)
		give_up();
	tell_ready(filer);
	while (sd_event_loop(filer->event) == -ENOMEM)
		wait_for_memory(-ENOMEM); /* then what is level-triggered comes again */
	give_up();
}
