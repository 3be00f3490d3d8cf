/* SPDX-License-Identifier: BSD-3-Clause */
#include "acceptor.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clerk.h"
#include "config.h"
#include "house.h"
#include "log.h"
#include "refusal.h"
#include "spawner.h"

/* Connections that are accepted before other events have their turn. */
#define ACCEPTS_AT_ONCE 16

/*
 * How long the listener is ignored when the kernel has no memory or no descriptor for a connection.
 */
#define RETRY_US 100000

/* The same, when the spawner has no room for a client that is to be refused. */
#define PENDING_US 1000

/* No file that others can open: they could make it slow to close. */
static int open_reserve(void)
{
	return memfd_create("vdm-reserve", MFD_CLOEXEC);
}

void acceptor_init(struct acceptor *acceptor, struct house *house, sd_event *event)
{
	*acceptor = (struct acceptor){.house = house,
				      .event = event,
				      .listener = {.fd = -1, .lock_fd = -1},
				      .reserve_fd = open_reserve(),
				      .pending_fd = -1};
}

/*
 * Have the spawner hang up on the client that is pending. While it has no room for that, no
 * other is accepted: its children never take long. Returns whether all is done.
 */
static bool refuse_pending(struct acceptor *acceptor)
{
	struct spawner *spawner = &acceptor->house->spawner;

	if (acceptor->pending_fd >= 0 &&
	    spawner_refuse(spawner, acceptor->pending_fd, &acceptor->refused) == 0)
		acceptor->pending_fd = -1;
	return acceptor->pending_fd < 0 && spawner_flush(spawner) == 0;
}

/* Tell a client why it gets no session. It reads that in answer to its greeting. */
static void turn_away(struct acceptor *acceptor, struct clerk *clerk, int socket, int error,
		      const char *text)
{
	acceptor->refused = (struct vdm_message_refused){
		.header = {VDM_MESSAGE_REFUSED, sizeof acceptor->refused},
		.request = VDM_MESSAGE_HELLO,
		.error = error,
	};
	refuse(acceptor->refused.text, 0, "%s", text);
	acceptor->house->refused++;
	/* not here: an answer wakes all that waits for the client's end, and so does its closing,
	 * and the client decides how much that is */
	if (clerk && clerk_refuse(clerk, socket, &acceptor->refused) == 0)
		return;
	acceptor->pending_fd = socket;
	acceptor->is_pending = !refuse_pending(acceptor);
}

/* Begin a session if the limits allow it: 0, or a negative errno with a sentence. */
static int begin_session(struct house *house, struct user *user, const struct log_peer *peer,
			 int socket, char text[VDM_REFUSAL_TEXT])
{
	int result;

	if (user->clerk && clerk_is_alone(user->clerk)) {
		user->clerk = NULL;
		user_set_account(user, NULL);
	}
	if (!user->clerk) {
		result = clerk_start(house, user, &user->clerk);
		if (result == -EBUSY)
			return refuse(text, -EAGAIN,
				      "vdmd has not let go of what this user's sessions held: try "
				      "again later");
		if (result)
			return refuse(text, result,
				      "vdmd cannot start a thread or a process for this user "
				      "(TasksMax, LimitNOFILE)");
	}
	/* not before, since the clerk turns away whom this refuses */
	result = user_handshake(user, text);
	if (result)
		return result;
	return clerk_admit(user->clerk, peer, socket, text);
}

int acceptor_admit(struct acceptor *acceptor, int socket)
{
	struct house *house = acceptor->house;
	struct ucred credentials = {0};
	socklen_t size = sizeof credentials;
	char text[VDM_REFUSAL_TEXT];
	struct user *user = NULL;
	struct log_peer peer;
	int result;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
		result = refuse(text, -errno, "vdmd cannot tell who connects");
	else
		result = 0;
	peer = (struct log_peer){.pid = credentials.pid, .uid = credentials.uid};
	house_lock(house);
	if (!result)
		result = user_get(&house->users, peer.uid, &user, text);
	if (user) {
		peer.limit = &user->log_limit;
		result = begin_session(house, user, &peer, socket, text);
	}
	if (result) {
		turn_away(acceptor, user ? user->clerk : NULL, socket, result, text);
	} else {
		house->accepted++;
	}
	if (user)
		user_put(user);
	house_unlock(house);
	if (result == -EDQUOT || result == -EAGAIN)
		log_limited(LOG_WARNING, &peer, "refused: %s", text);
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

	if (!result) {
		house_lock(acceptor->house);
		turn_away(acceptor, NULL, fd, -EMFILE,
			  "vdmd is out of descriptors: raise LimitNOFILE of its service");
		house_unlock(acceptor->house);
	}
	acceptor->reserve_fd = open_reserve();
	return result;
}

/* Ignore the listener for a moment. */
static void retry_later(struct acceptor *acceptor)
{
	const uint64_t us = acceptor->is_pending ? PENDING_US : RETRY_US;

	if (sd_event_source_set_time_relative(acceptor->on_retry, us) >= 0 &&
	    sd_event_source_set_enabled(acceptor->on_retry, SD_EVENT_ONESHOT) >= 0)
		sd_event_source_set_enabled(acceptor->on_connection, SD_EVENT_OFF);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *context)
{
	struct acceptor *acceptor = context;

	(void)source;
	(void)usec;
	if (acceptor->is_pending)
		acceptor->is_pending = !refuse_pending(acceptor);
	if (acceptor->reserve_fd < 0)
		acceptor->reserve_fd = open_reserve();
	/* epoll_ctl(2) needs memory, too */
	if (acceptor->is_pending ||
	    sd_event_source_set_enabled(acceptor->on_connection, SD_EVENT_ON) < 0)
		retry_later(acceptor);
	return 0;
}

/*
 * Accept one connection and make a session of it, or refuse it. Returns 0, or a negative errno if
 * there is none.
 */
static int accept_one(struct acceptor *acceptor)
{
	int fd = accept4(acceptor->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return errno == EMFILE || errno == ENFILE ? refuse_one(acceptor) : -errno;
	acceptor_admit(acceptor, fd);
	return acceptor->is_pending ? -ENOBUFS : 0;
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

	int result = sd_event_add_io(acceptor->event, &acceptor->on_connection, listener->fd,
				     EPOLLIN, on_connection, acceptor);

	if (result >= 0) /* now, for the first timer of an event loop takes a descriptor */
		result = sd_event_add_time(acceptor->event, &acceptor->on_retry, CLOCK_MONOTONIC, 0,
					   RETRY_US / 10, on_retry, acceptor);
	if (result >= 0)
		result = sd_event_source_set_enabled(acceptor->on_retry, SD_EVENT_OFF);
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
