/* SPDX-License-Identifier: BSD-3-Clause */
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "coarse_clock.h"
#include "conversation.h"
#include "error.h"

#define NS_PER_S 1000000000

/*
 * How long a refusal is believed. A greeting costs the daemon more than a look costs this side, and
 * mostly an operator has to change something first: install the daemon's release of the library,
 * raise a limit, add the user to the group.
 */
#define REFUSED_MS 1000

/* The client gives up a greeting without an answer after this: the process that has accepted the
 * connection may never answer, while a daemon listens at the socket by now. */
#define GREETING_MS 10000

void connection_init(struct connection *connection, const struct vdm_options *options,
		     struct connection *daemon, void (*welcomed)(struct connection *connection))
{
	*connection = (struct connection){.options = options,
					  .daemon = daemon,
					  .welcomed = welcomed,
					  .socket = -1,
					  .lease = -1};
	pthread_mutex_init(&connection->talk, NULL);
	pthread_mutex_init(&connection->lock, NULL);
}

void connection_destroy(struct connection *connection)
{
	if (connection->socket >= 0)
		close(connection->socket);
	if (connection->lease >= 0)
		close(connection->lease);
	pthread_mutex_destroy(&connection->talk);
	pthread_mutex_destroy(&connection->lock);
}

static void set_state(struct connection *c, enum connection_state state, int socket, int error)
{
	pthread_mutex_lock(&c->lock);
	c->state = state;
	c->socket = socket;
	c->error = error;
	pthread_mutex_unlock(&c->lock);
}

/* Whether the daemon has let go of everything. It writes nothing to a lease. */
static bool lease_has_ended(const struct connection *c)
{
	struct pollfd event = {.fd = c->lease, .events = POLLIN};

	return c->lease < 0 || poll(&event, 1, 0) > 0;
}

/* The socket has hung up, or there was none. */
static void hung_up(struct connection *c, int error)
{
	if (c->socket >= 0)
		close(c->socket);
	if (!lease_has_ended(c)) {
		set_state(c, CONNECTION_GIVEN_UP, -1, error);
		return;
	}
	if (c->lease >= 0)
		close(c->lease);
	pthread_mutex_lock(&c->lock);
	c->lease = -1;
	pthread_mutex_unlock(&c->lock);
	set_state(c, CONNECTION_NONE, -1, error);
}

bool connection_is_absence(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED || error == -ENOTCONN ||
	       error == -ENOTDIR || error == -EAGAIN || error == -ETIMEDOUT;
}

/* The daemon has not welcomed the client. The thread has the sentence. Call this before the error
 * becomes the connection's. */
static void note_refusal(struct connection *c, int error)
{
	if (connection_is_absence(error) || conversation_may_retry(error))
		return;
	snprintf(c->refusal, sizeof c->refusal, "%s", vdm_last_error());
	c->refused_until = coarse_ms() + REFUSED_MS;
	if (error == c->error)
		return; /* it is the same daemon, as far as this side can tell */
	pthread_mutex_lock(&c->lock);
	c->refused++;
	pthread_mutex_unlock(&c->lock);
	debug_line("a client is not served: %s", vdm_last_error());
}

static void give_up(struct connection *c, int error)
{
	/* the daemon ends the session, and hangs up when it has let go of everything */
	shutdown(c->socket, SHUT_WR);
	set_state(c, CONNECTION_GIVEN_UP, c->socket, error);
}

static void opened(struct connection *c, int socket, int lease)
{
	pthread_mutex_lock(&c->lock);
	c->state = CONNECTION_OPEN;
	c->socket = socket;
	c->lease = lease;
	c->error = 0;
	c->owed = 0;
	c->number++;
	pthread_mutex_unlock(&c->lock);
	c->welcomed(c);
}

/* Ask the daemon for a socket to the filer. Returns it, or a negative errno with its sentence. */
static int ask_for_filer(struct connection *daemon)
{
	struct vdm_message_files request = {.header = {VDM_MESSAGE_FILES, sizeof request}};
	struct vdm_packet answer;
	int result = connection_request(daemon, &request.header, NULL, 0, VDM_MESSAGE_FILES_OPENED,
					VDM_FILES_FD_COUNT, &answer);

	return result ? result : vdm_packet_take(&answer, VDM_FILES_FD_SOCKET);
}

static int open_filer(struct connection *c)
{
	int fd = ask_for_filer(c->daemon), lease, result = fd;

	/* it is a child of the daemon's that has to start */
	if (fd >= 0)
		result = conversation_greet_on(fd, 0, GREETING_PATIENCE_MS, &lease, &c->welcome);
	if (result == 0) {
		opened(c, fd, lease);
		return 0;
	}
	if (fd >= 0)
		close(fd);
	set_state(c, CONNECTION_NONE, -1, result);
	return result;
}

int connection_open(struct connection *c, unsigned most_ms)
{
	const struct vdm_options *options = c->options;
	/* only the first time: later there are rings that can do without one */
	bool patient =
		c->number == 0 && (options->flags & VDM_OPTION_REQUIRE_DAEMON || options->features);
	unsigned timeout_ms = options->answer_timeout_ms;
	int fd, lease, result;

	if (c->daemon)
		return open_filer(c);
	if (options->flags & VDM_OPTION_LOCAL_ONLY) {
		set_state(c, CONNECTION_NONE, -1, -ENOTCONN);
		return 0;
	}
	if (!patient && timeout_ms > most_ms)
		timeout_ms = most_ms;
	result = conversation_greet(options->socket, options->features, timeout_ms, &fd, &lease,
				    &c->welcome);
	if (result == 0) {
		opened(c, fd, lease);
	} else if (result == -ETIMEDOUT && !patient) {
		c->greeting_ends = coarse_ms() + GREETING_MS;
		set_state(c, CONNECTION_GREETING, fd, result);
	} else {
		if (fd >= 0)
			close(fd);
		note_refusal(c, result);
		set_state(c, CONNECTION_NONE, -1, result);
	}
	return result;
}

static void look_for_welcome(struct connection *c, unsigned most_ms)
{
	struct vdm_packet answer;
	int result = conversation_receive(c->socket, &answer, most_ms ? deadline_in(most_ms) : 0);

	if (result == -ETIMEDOUT) {
		if (coarse_ms() >= c->greeting_ends)
			hung_up(c, result);
		return;
	}
	result = result ? conversation_explain(result, 0)
			: conversation_understand(&answer, VDM_MESSAGE_WELCOME,
						  VDM_WELCOME_FD_COUNT);
	if (result) {
		note_refusal(c, result);
		hung_up(c, result);
		return;
	}
	c->welcome = answer.message.welcome;
	opened(c, c->socket, vdm_packet_take(&answer, VDM_WELCOME_FD_LEASE));
}

/* Drop the answers that no thread waits for any more, and notice the hang-up behind them. */
static void drop_answers(struct connection *c)
{
	struct vdm_packet answer;
	int result;

	if (c->socket < 0) {
		hung_up(c, c->error);
		return;
	}
	do {
		result = conversation_receive(c->socket, &answer, 0);
		if (result == 0)
			vdm_packet_close(&answer);
	} while (result == 0 || result == -EMFILE || result == -EMSGSIZE || result == -EPROTO);
	if (result != -ETIMEDOUT)
		hung_up(c, c->error);
}

/* Take the answers that are owed, as far as they have come before the deadline. */
static int take_owed(struct connection *c, int64_t deadline)
{
	struct vdm_packet answer;
	int result = 0;

	while (c->owed > 0 && (result = conversation_receive(c->socket, &answer, deadline)) == 0) {
		vdm_packet_close(&answer);
		c->owed--;
	}
	return result;
}

static void look_for_hangup(struct connection *c)
{
	char byte;

	take_owed(c, 0);

	ssize_t got = recv(c->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	/* the porter's end of the socket may outlast the daemon */
	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR) || lease_has_ended(c))
		hung_up(c, -ENOTCONN);
}

static void look(struct connection *c, unsigned most_ms)
{
	switch (c->state) {
	case CONNECTION_NONE:
		break;
	case CONNECTION_GREETING:
		look_for_welcome(c, most_ms);
		break;
	case CONNECTION_OPEN:
		look_for_hangup(c);
		break;
	case CONNECTION_GIVEN_UP:
		drop_answers(c);
		break;
	}
}

void connection_look(struct connection *c)
{
	look(c, 0);
}

/* The daemon has hung up, and is about to let go of everything: it may be ending. */
static void await_lease(struct connection *c, int64_t deadline)
{
	struct pollfd event = {.fd = c->lease, .events = POLLIN};

	while (poll(&event, 1, ms_until(deadline)) < 0 && errno == EINTR)
		;
	look(c, 0);
}

void connection_reopen(struct connection *c, unsigned most_ms)
{
	const int64_t deadline = deadline_in(most_ms);

	look(c, most_ms);
	if (c->state == CONNECTION_GIVEN_UP && c->socket < 0)
		await_lease(c, deadline);
	if (c->state != CONNECTION_NONE)
		return;
	if (coarse_ms() < c->refused_until)
		fail(c->error, "%s", c->refusal);
	else
		connection_open(c, (unsigned)ms_until(deadline));
}

bool connection_lock_talk(struct connection *c, unsigned most_ms)
{
	struct timespec deadline;

	if (pthread_mutex_trylock(&c->talk) == 0)
		return true;
	if (most_ms == 0)
		return false;
	/* Not pthread_mutex_clocklock(3), which ThreadSanitizer does not know before gcc 14. Where
	 * the clock is set back, the wait ends with the conversations, which have deadlines. */
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += most_ms / 1000;
	deadline.tv_nsec += most_ms % 1000 * 1000000L;
	if (deadline.tv_nsec >= NS_PER_S) {
		deadline.tv_sec++;
		deadline.tv_nsec -= NS_PER_S;
	}
	return pthread_mutex_timedlock(&c->talk, &deadline) == 0;
}

bool connection_renew(struct connection *c, unsigned most_ms)
{
	const int64_t deadline = deadline_in(most_ms);
	bool renewed = false;

	if (c->daemon && !connection_lock_talk(c->daemon, most_ms))
		return false;
	if (connection_lock_talk(c, (unsigned)ms_until(deadline))) {
		connection_reopen(c, (unsigned)ms_until(deadline));
		pthread_mutex_unlock(&c->talk);
		renewed = true;
	}
	if (c->daemon)
		pthread_mutex_unlock(&c->daemon->talk);
	return renewed;
}

int connection_request(struct connection *c, const struct vdm_message_header *request,
		       const int *fds, unsigned sent_fds, enum vdm_message_type expected,
		       unsigned fd_count, struct vdm_packet *answer)
{
	if (c->state != CONNECTION_OPEN)
		return fail(-ENOTCONN, "there is no connection to vdmd");

	int result = conversation_ask(c->socket, c->options->answer_timeout_ms, request, fds,
				      sent_fds, expected, fd_count, &c->owed, answer);

	if (result == -ENOTCONN)
		hung_up(c, result);
	if (result != -ETIMEDOUT && result != -EPROTO)
		return result;
	give_up(c, result);
	return -ENOTCONN;
}

/* Send a message, and try again for a while if the kernel has no memory for it. */
static int send_patiently(const struct connection *c, const struct vdm_message_header *message,
			  int64_t deadline)
{
	const int64_t retry_until = deadline_in(RETRY_FOR_MS);
	int result;

	while ((result = conversation_send(c->socket, message, NULL, 0, deadline)) &&
	       conversation_may_retry(result) && ms_until(retry_until) > 0)
		poll(NULL, 0, RETRY_MS);
	return result;
}

int connection_tell(struct connection *c, const struct vdm_message_header *message)
{
	if (c->state != CONNECTION_OPEN)
		return fail(-ENOTCONN, "there is no connection to vdmd");

	int result = send_patiently(c, message, deadline_in(c->options->answer_timeout_ms));

	if (result == -ENOTCONN)
		hung_up(c, result);
	if (result != -ETIMEDOUT)
		return result;
	give_up(c, result);
	return -ENOTCONN;
}

/* Returns whether the hang-up of the lease has to be waited for. */
static bool ask_to_let_go(struct connection *c, const struct vdm_message_header *request,
			  bool in_flight)
{
	const int64_t deadline = deadline_in(c->options->answer_timeout_ms);
	int result = send_patiently(c, request, deadline);

	if (!result) {
		c->owed++;
		result = take_owed(c, deadline);
		if (result == -ETIMEDOUT && !in_flight)
			return false; /* the answer is dropped when it comes */
	}
	if (result == -ENOTCONN)
		hung_up(c, result);
	else if (result)
		give_up(c, result);
	return result && in_flight && c->state == CONNECTION_GIVEN_UP;
}

/* Waits without `talk`: a daemon that is stopped holds up only the threads that need its end. */
static void await_lease_end(struct connection *c, uint32_t number)
{
	for (;;) {
		int fd = -1;

		pthread_mutex_lock(&c->talk);
		connection_look(c);
		bool over = c->number != number || lease_has_ended(c);

		if (!over)
			/* a duplicate: another thread may close that one */
			fd = fcntl(c->lease, F_DUPFD_CLOEXEC, 0);
		pthread_mutex_unlock(&c->talk);
		if (over)
			return;

		struct pollfd event = {.fd = fd, .events = POLLIN};

		poll(&event, 1, fd < 0 ? RETRY_MS : -1);
		if (fd >= 0)
			close(fd);
	}
}

void connection_let_go(struct connection *c, uint32_t number,
		       const struct vdm_message_header *request, bool in_flight)
{
	bool wait = false;

	pthread_mutex_lock(&c->talk);
	if (c->number == number) {
		if (c->state == CONNECTION_OPEN)
			wait = ask_to_let_go(c, request, in_flight);
		else
			wait = in_flight && c->state == CONNECTION_GIVEN_UP;
	}
	pthread_mutex_unlock(&c->talk);
	if (wait)
		await_lease_end(c, number);
}
