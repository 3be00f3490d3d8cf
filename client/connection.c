/* SPDX-License-Identifier: BSD-3-Clause */
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "client_internal.h"
#include "error.h"

#define DEFAULT_SOCKET "/run/vdmd/vdmd.sock"

/* How soon, and for how long, to try again what the kernel had no memory for. */
#define RETRY_MS     1
#define RETRY_FOR_MS 100

const char *connection_path(const char *given)
{
	if (given)
		return given;

	const char *set = secure_getenv("VDM_SOCKET");

	return set && *set ? set : DEFAULT_SOCKET;
}

/* When a wait ends: ms, CLOCK_MONOTONIC. */
static int64_t deadline_in(unsigned ms)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + ms;
}

static int ms_until(int64_t deadline)
{
	int64_t left = deadline - deadline_in(0);

	return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

/* Wait for the socket. Signals do not prolong it. Returns 0, also when the peer has hung up, or -ETIMEDOUT. */
static int wait_for(int socket, short events, int64_t deadline)
{
	struct pollfd event = {.fd = socket, .events = events};
	int ready;

	do
		ready = poll(&event, 1, ms_until(deadline));
	while (ready < 0 && errno == EINTR);
	return ready > 0 ? 0 : ready == 0 ? -ETIMEDOUT : -errno;
}

static int set_timeout(int fd, int64_t deadline)
{
	int left = ms_until(deadline);
	/* zero would mean for ever */
	const struct timeval timeout = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000 + (left == 0)};

	return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
}

static int open_socket(const char *path, int64_t deadline)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof address.sun_path)
		return fail(-ENAMETOOLONG, "socket path %s has %zu bytes: the longest has %zu", path,
			    strlen(path), sizeof address.sun_path - 1);
	strcpy(address.sun_path, path);

	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return fail(-errno, "cannot open a socket: %s", strerror(errno));

	int result;

	/* while the listener's queue is full, connect(2) waits as send(2) does: unix(7), socket(7) */
	do {
		set_timeout(fd, deadline);
		result = connect(fd, (struct sockaddr *)&address, sizeof address);
	} while (result < 0 && errno == EINTR);
	if (result == 0)
		return fd;

	int error = errno;

	close(fd);
	if (error == EACCES)
		return fail(-error, "no permission to connect to %s: is this user in the group that "
				    "owns it (usually vdm)?", path);
	return fail(-error, "cannot connect to vdmd at %s: %s%s", path, strerror(error),
		    error != ENOENT && error != ECONNREFUSED ? "" : ": start it (systemctl start vdmd.socket), or one of "
							       "your own (vdmd --socket PATH)");
}

/*
 * Send a request. Returns 0; -ENOTCONN; -ETIMEDOUT: the daemon does not read; or another negative errno, and then
 * nothing has been sent and the conversation can go on.
 */
static int say(int socket, const struct vdm_message_header *request, const int *fds, unsigned fd_count,
	       int64_t deadline)
{
	int result;

	while ((result = vdm_packet_send(socket, request, fds, fd_count)) == -EAGAIN) {
		result = wait_for(socket, POLLOUT, deadline);
		if (result)
			break;
	}
	if (result && result != -ENOTCONN && result != -ETIMEDOUT)
		return fail(result, "cannot send vdmd a request: %s", strerror(-result));
	return result;
}

/* What the kernel has no room for at the moment: send(2), recv(2), unix(7). */
static bool passes(int error)
{
	return error == -ENOBUFS || error == -ENOMEM || error == -ETOOMANYREFS;
}

/* Receive a message, or an error of vdm_packet_receive(), or -ETIMEDOUT. */
static int hear(int socket, struct vdm_packet *packet, int64_t deadline)
{
	const int64_t retry_until = deadline ? deadline_in(RETRY_FOR_MS) : 0;
	int result;

	for (;;) {
		result = vdm_packet_receive(socket, packet, 0);
		if (passes(result) && ms_until(retry_until) > 0)
			poll(NULL, 0, RETRY_MS);
		else if (result != -EAGAIN || (result = wait_for(socket, POLLIN, deadline)))
			break;
	}
	if (result)
		vdm_packet_close(packet);
	return result;
}

/* What an answer says. -EPROTO: nothing that could be understood. */
static int understand(struct vdm_packet *reply, enum vdm_message_type expected, unsigned fd_count)
{
	const struct vdm_message_refused *refused = &reply->message.refused;

	if (reply->message.header.type == VDM_MESSAGE_REFUSED && reply->size == sizeof *refused &&
	    refused->error < 0 && reply->fd_count == 0)
		return fail(refused->error, "%.*s", VDM_REFUSAL_TEXT, refused->text);
	if (reply->message.header.type != expected || reply->fd_count != fd_count) {
		vdm_packet_close(reply);
		return fail(-EPROTO, "vdmd's answer is not one that this library (%s) understands", VDM_VERSION);
	}
	return 0;
}

/* Have the sentence for what hear() returned, and return what it means for the connection. */
static int explain(int result, unsigned timeout_ms)
{
	if (result == -EMFILE)
		return fail(-EMFILE, "this process has too many open files to take what vdmd sends");
	if (result == -ENOTCONN)
		return fail(-ENOTCONN, "vdmd has ended the connection");
	if (result == -ETIMEDOUT)
		return fail(-ETIMEDOUT, "vdmd has not answered for %u ms", timeout_ms);
	return fail(-EPROTO, "cannot talk to vdmd: %s", strerror(-result));
}

/* `*owed` answers, to requests that were not waited for, come first. */
static int converse(int socket, unsigned timeout_ms, const struct vdm_message_header *request, const int *fds,
		    unsigned sent_fds, enum vdm_message_type expected, unsigned fd_count, unsigned *owed,
		    struct vdm_packet *reply)
{
	int64_t deadline = deadline_in(timeout_ms);
	int result = say(socket, request, fds, sent_fds, deadline);

	if (result && result != -ENOTCONN) /* a peer that has hung up may have said why before */
		return result == -ETIMEDOUT ? explain(result, timeout_ms) : result;
	while ((result = hear(socket, reply, deadline)) == 0 && *owed > 0) {
		vdm_packet_close(reply);
		--*owed;
	}
	return result ? explain(result, timeout_ms) : understand(reply, expected, fd_count);
}

int connection_converse(int socket, unsigned timeout_ms, const struct vdm_message_header *request,
			enum vdm_message_type expected, unsigned fd_count, struct vdm_packet *reply)
{
	int result = converse(socket, timeout_ms, request, NULL, 0, expected, fd_count, &(unsigned){0}, reply);

	return result == -EPROTO ? -ENOTCONN : result; /* a stranger is no daemon */
}

/* Connect and greet. *fd is the socket also where that was in vain, -1 if there is none. */
static int greet(const char *path, uint64_t features, unsigned timeout_ms, int *fd,
		 struct vdm_message_welcome *welcome)
{
	struct vdm_message_hello hello = {
		.header = {VDM_MESSAGE_HELLO, sizeof hello},
		.magic = VDM_PROTOCOL_MAGIC,
		.version = VDM_PROTOCOL_VERSION,
		.features = features,
	};
	struct vdm_packet reply;

	*fd = open_socket(path, deadline_in(timeout_ms));
	if (*fd < 0)
		return *fd;
	snprintf(hello.command, sizeof hello.command, "%s", program_invocation_short_name);

	int result = connection_converse(*fd, timeout_ms, &hello.header, VDM_MESSAGE_WELCOME, 0, &reply);

	if (result == 0)
		*welcome = reply.message.welcome;
	return result;
}

int connection_dial(const char *path, uint64_t features, unsigned timeout_ms, struct vdm_message_welcome *welcome)
{
	int fd, result = greet(path, features, timeout_ms, &fd, welcome);

	if (result && fd >= 0)
		close(fd);
	return result ? result : fd;
}

static void set_state(struct vdm_client *client, enum connection_state state, int socket, int error)
{
	pthread_mutex_lock(&client->lock);
	client->connection_state = state;
	client->socket = socket;
	client->error = error;
	pthread_mutex_unlock(&client->lock);
}

static void hung_up(struct vdm_client *client, int error)
{
	close(client->socket);
	set_state(client, CONNECTION_NONE, -1, error);
}

static void give_up(struct vdm_client *client, int error)
{
	/* the daemon then ends the session, and hangs up when it has let go of everything */
	shutdown(client->socket, SHUT_WR);
	set_state(client, CONNECTION_GIVEN_UP, client->socket, error);
}

static void welcomed(struct vdm_client *client, int socket)
{
	struct vdm_region *region;

	pthread_mutex_lock(&client->lock);
	client->connection_state = CONNECTION_OPEN;
	client->socket = socket;
	client->error = 0;
	client->owed = 0;
	client->connections++;
	LIST_FOREACH(region, &client->regions, entry)
		region->id = 0; /* those of the connection before mean nothing */
	pthread_mutex_unlock(&client->lock);
	/* only whoever holds `talk` changes the list. A region that is refused now stays in the local lane. */
	LIST_FOREACH(region, &client->regions, entry)
		region_register(region);
}

int connection_open(struct vdm_client *client)
{
	const struct vdm_options *options = &client->options;
	bool patient = options->flags & VDM_OPTION_REQUIRE_DAEMON || options->features;
	unsigned timeout_ms = options->answer_timeout_ms;
	int fd, result;

	if (options->flags & VDM_OPTION_LOCAL_ONLY) {
		set_state(client, CONNECTION_NONE, -1, -ENOTCONN);
		return 0;
	}
	if (!patient && timeout_ms > GREETING_PATIENCE_MS)
		timeout_ms = GREETING_PATIENCE_MS;
	result = greet(options->socket, options->features, timeout_ms, &fd, &client->welcome);
	if (result == 0) {
		welcomed(client, fd);
	} else if (result == -ETIMEDOUT && !patient) {
		set_state(client, CONNECTION_GREETING, fd, result);
	} else {
		if (fd >= 0)
			close(fd);
		set_state(client, CONNECTION_NONE, -1, result);
	}
	return result;
}

static void look_for_welcome(struct vdm_client *client)
{
	struct vdm_packet reply;
	int result = hear(client->socket, &reply, 0);

	if (result == -ETIMEDOUT)
		return;
	result = result ? explain(result, 0) : understand(&reply, VDM_MESSAGE_WELCOME, 0);
	if (result) {
		hung_up(client, result);
		return;
	}
	client->welcome = reply.message.welcome;
	welcomed(client, client->socket);
}

/* Read what nothing waits for any more, and notice the hang-up behind it. */
static void drop_answers(struct vdm_client *client)
{
	struct vdm_packet reply;
	int result;

	do {
		result = hear(client->socket, &reply, 0);
		if (result == 0)
			vdm_packet_close(&reply);
	} while (result == 0 || result == -EMFILE || result == -EMSGSIZE || result == -EPROTO);
	if (result != -ETIMEDOUT)
		hung_up(client, client->error);
}

/* Take the answers that are owed, as far as they have come before the deadline. */
static int take_owed(struct vdm_client *client, int64_t deadline)
{
	struct vdm_packet reply;
	int result = 0;

	while (client->owed > 0 && (result = hear(client->socket, &reply, deadline)) == 0) {
		vdm_packet_close(&reply);
		client->owed--;
	}
	return result;
}

static void look_for_hangup(struct vdm_client *client)
{
	char byte;

	take_owed(client, 0);

	ssize_t got = recv(client->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
		hung_up(client, -ENOTCONN);
}

void connection_look(struct vdm_client *client)
{
	switch (client->connection_state) {
	case CONNECTION_NONE:
		break;
	case CONNECTION_GREETING:
		look_for_welcome(client);
		break;
	case CONNECTION_OPEN:
		look_for_hangup(client);
		break;
	case CONNECTION_GIVEN_UP:
		drop_answers(client);
		break;
	}
}

void connection_renew(struct vdm_client *client)
{
	pthread_mutex_lock(&client->talk);
	connection_look(client);
	if (client->connection_state == CONNECTION_NONE)
		connection_open(client);
	pthread_mutex_unlock(&client->talk);
}

int connection_request(struct vdm_client *client, const struct vdm_message_header *request, const int *fds,
		       unsigned sent_fds, enum vdm_message_type expected, unsigned fd_count,
		       struct vdm_packet *reply)
{
	if (client->connection_state != CONNECTION_OPEN)
		return fail(-ENOTCONN, "there is no connection to vdmd");

	int result = converse(client->socket, client->options.answer_timeout_ms, request, fds, sent_fds, expected,
			      fd_count, &client->owed, reply);

	if (result == -ENOTCONN)
		hung_up(client, result);
	if (result != -ETIMEDOUT && result != -EPROTO)
		return result;
	give_up(client, result);
	return -ENOTCONN;
}

/* Returns whether the connection's hang-up has to be waited for. */
static bool ask_to_let_go(struct vdm_client *client, const struct vdm_message_header *request, bool in_flight)
{
	const int64_t deadline = deadline_in(client->options.answer_timeout_ms);
	const int64_t retry_until = deadline_in(RETRY_FOR_MS);
	int result;

	while (passes(result = say(client->socket, request, NULL, 0, deadline)) && ms_until(retry_until) > 0)
		poll(NULL, 0, RETRY_MS);
	if (!result) {
		client->owed++;
		result = take_owed(client, deadline);
		if (result == -ETIMEDOUT && !in_flight)
			return false; /* it will come, and be dropped then */
	}
	if (result == -ENOTCONN)
		hung_up(client, result);
	else if (result)
		give_up(client, result);
	return result && result != -ENOTCONN && in_flight;
}

/* Without `talk` while it waits: a daemon that is stopped holds up only those who need its end. */
static void await_hangup(struct vdm_client *client, uint32_t connection)
{
	for (;;) {
		int fd = -1;

		pthread_mutex_lock(&client->talk);
		connection_look(client);
		bool over = client->connections != connection || client->connection_state == CONNECTION_NONE;

		if (!over)
			fd = fcntl(client->socket, F_DUPFD_CLOEXEC, 0); /* another thread may close that one */
		pthread_mutex_unlock(&client->talk);
		if (over)
			return;

		struct pollfd event = {.fd = fd, .events = POLLIN};

		poll(&event, 1, fd < 0 ? RETRY_MS : -1);
		if (fd >= 0)
			close(fd);
	}
}

void connection_let_go(struct vdm_client *client, uint32_t connection, const struct vdm_message_header *request,
		       bool in_flight)
{
	bool wait = false;

	pthread_mutex_lock(&client->talk);
	if (client->connections == connection) {
		if (client->connection_state == CONNECTION_OPEN)
			wait = ask_to_let_go(client, request, in_flight);
		else
			wait = in_flight && client->connection_state == CONNECTION_GIVEN_UP;
	}
	pthread_mutex_unlock(&client->talk);
	if (wait)
		await_hangup(client, connection);
}
