/* SPDX-License-Identifier: BSD-3-Clause */
#include "acceptor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "reaper.h"
#include "refusal.h"
#include "session.h"

/* Connections that are accepted before other events have their turn. */
#define ACCEPTS_AT_ONCE 16

/*
 * How long the listener is ignored when the kernel has no memory or no descriptor for a connection.
 */
#define RETRY_US 100000

static int open_reserve(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void acceptor_init(struct acceptor *acceptor, struct session_host *host)
{
	*acceptor = (struct acceptor){
		.host = host, .listener = {.fd = -1, .lock_fd = -1}, .reserve_fd = open_reserve()};
}

/* Tell a client why it gets no session. It reads that in answer to its greeting. */
static void turn_away(struct acceptor *acceptor, struct user *user, int socket, int error,
		      const char *text)
{
	refusal_send(socket, VDM_MESSAGE_HELLO, error, text);
	shutdown(socket, SHUT_RDWR);
	reaper_close_socket(acceptor->host->reaper, user, socket);
	acceptor->host->refused++;
}

/* Begin a session if the limits allow it: 0, or a negative errno with a sentence. */
static int begin_session(struct session_host *host, struct user *user, const struct log_peer *peer,
			 int socket, char text[VDM_REFUSAL_TEXT])
{
	if (reaper_overloaded(user))
		return refuse(text, -EDQUOT,
			      "closing the descriptors that this user has passed to vdmd takes too "
			      "long: try again later");

	int result = user_handshake(user, text);

	if (!result)
		result = session_begin(host, user, peer, socket, text);
	if (result == -EDQUOT)
		log_limited(LOG_WARNING, peer, "refused: %s", text);
	return result;
}

int acceptor_admit(struct acceptor *acceptor, int socket)
{
	struct session_host *host = acceptor->host;
	struct ucred credentials;
	socklen_t size = sizeof credentials;
	char text[VDM_REFUSAL_TEXT];
	struct user *user = NULL;
	int result;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) {
		result = refuse(text, -errno, "vdmd cannot tell who connects");
	} else if ((result = user_get(&host->users, credentials.uid, &user, text)) == 0) {
		const struct log_peer peer = {
			.limit = &user->log_limit, .pid = credentials.pid, .uid = credentials.uid};

		result = begin_session(host, user, &peer, socket, text);
	}
	if (result)
		turn_away(acceptor, user, socket, result, text);
	else
		host->accepted++;
	if (user)
		user_put(user);
	return result;
}

/*
 * All descriptors are taken. The one in reserve is given up, so that the next connection can be
 * accepted and refused: if it stayed in the queue, the event loop would spin.
 */
static int refuse_one(struct acceptor *acceptor)
{
	if (acceptor->reserve_fd < 0)
		return -EMFILE;
	close(acceptor->reserve_fd);

	int fd = accept4(acceptor->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int result = fd < 0 ? -errno : 0;

	if (!result)
		turn_away(acceptor, NULL, fd, -EMFILE,
			  "vdmd is out of descriptors: raise LimitNOFILE of its service");
	acceptor->reserve_fd = open_reserve();
	return result;
}

void acceptor_retry(struct acceptor *acceptor)
{
	if (!acceptor->on_retry)
		return;
	if (acceptor->reserve_fd < 0)
		acceptor->reserve_fd = open_reserve();
	/* epoll_ctl(2) needs memory, too */
	if (sd_event_source_set_enabled(acceptor->on_connection, SD_EVENT_ON) < 0) {
		sd_event_source_set_time_relative(acceptor->on_retry, RETRY_US);
		sd_event_source_set_enabled(acceptor->on_retry, SD_EVENT_ONESHOT);
		return;
	}
	acceptor->on_retry = sd_event_source_disable_unref(acceptor->on_retry);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *context)
{
	(void)source;
	(void)usec;
	acceptor_retry(context);
	return 0;
}

/* Ignore the listener for a moment, or until a session ends. */
static void retry_later(struct acceptor *acceptor)
{
	if (sd_event_add_time_relative(acceptor->host->event, &acceptor->on_retry, CLOCK_MONOTONIC,
				       RETRY_US, RETRY_US / 10, on_retry, acceptor) >= 0)
		sd_event_source_set_enabled(acceptor->on_connection, SD_EVENT_OFF);
}

/*
 * Accept one connection and make a session of it, or refuse it. Returns 0, or a negative errno if
 * there is none.
 */
static int accept_one(struct acceptor *acceptor)
{
	int fd = accept4(acceptor->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0) {
		acceptor_admit(acceptor, fd);
		return 0;
	}
	return errno == EMFILE || errno == ENFILE ? refuse_one(acceptor) : -errno;
}

static int on_connection(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct acceptor *acceptor = context;

	(void)source;
	(void)fd;
	(void)events;
	for (unsigned i = 0; i < ACCEPTS_AT_ONCE; i++) {
		switch (accept_one(acceptor)) {
		case -EAGAIN:
			return 0;
		case -EMFILE:
		case -ENFILE:
		case -ENOMEM:
		case -ENOBUFS:
			retry_later(acceptor);
			return 0;
		}
	}
	return 0;
}

int acceptor_listen(struct acceptor *acceptor, const struct listener *listener)
{
	acceptor->listener = *listener;

	int result = sd_event_add_io(acceptor->host->event, &acceptor->on_connection, listener->fd,
				     EPOLLIN, on_connection, acceptor);

	return result < 0 ? result : 0;
}

void acceptor_close(struct acceptor *acceptor)
{
	acceptor->on_connection = sd_event_source_disable_unref(acceptor->on_connection);
	acceptor->on_retry = sd_event_source_disable_unref(acceptor->on_retry);
	listener_close(&acceptor->listener);
	if (acceptor->reserve_fd >= 0)
		close(acceptor->reserve_fd);
	acceptor->reserve_fd = -1;
}
