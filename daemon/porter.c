/* SPDX-License-Identifier: BSD-3-Clause */
#include "porter.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "drain.h"
#include "outbox.h"
#include "porter_jail.h"
#include "proto/passing.h"
#include "visit.h"

/* Linux 6.5; older C libraries do not know it. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* Messages of the daemon that are handled before other events have their turn. */
#define MESSAGES_AT_ONCE 16

/* How soon to try again when the kernel has no memory. */
#define RETRY_MS 10

#define BUCKETS 256

struct porter {
	sd_event *event;
	struct outbox outbox;
	LIST_HEAD(, visit) visits[BUCKETS];
};

sd_event *porter_event(const struct porter *porter)
{
	return porter->event;
}

/* The event loop would call again at once. */
static void wait_for_memory(int result)
{
	if (passing_may_retry(result))
		poll(NULL, 0, RETRY_MS);
}

static struct visit *find(struct porter *porter, uint64_t session)
{
	struct visit *visit;

	LIST_FOREACH(visit, &porter->visits[session % BUCKETS], entry)
		if (visit->session == session)
			return visit;
	return NULL;
}

static void tell(const struct visit *visit, enum porter_message_type type, int32_t value)
{
	const struct porter_message message = {
		.type = type, .session = visit->session, .value = value};

	outbox_tell(visit->context, &message);
}

static void on_opened(struct visit *visit, const char command[VDM_COMMAND_TEXT])
{
	struct porter_message opened = {.type = PORTER_OPENED, .session = visit->session};

	memcpy(opened.command, command, sizeof opened.command);
	outbox_tell(visit->context, &opened);
}

static void on_asked(struct visit *visit, const union vdm_message *request, size_t size)
{
	struct porter_message message = {
		.type = PORTER_REQUEST, .session = visit->session, .value = visit->passed};

	memcpy(&message.message, request, size);
	outbox_tell(visit->context, &message);
}

static void on_left(struct visit *visit, enum porter_reason reason)
{
	tell(visit, PORTER_LEFT, (int32_t)reason);
}

static void on_gone(struct visit *visit)
{
	tell(visit, PORTER_GONE, 0);
}

/* Open a pidfd of the process that connected. Returns -1 if that fails or the process has ended. */
static int open_peer(int socket, pid_t pid)
{
	socklen_t size = sizeof(int);
	int fd;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0)
		return fd;
	/*
	 * Before Linux 6.5, by its number, which another process can only have if this one has
	 * ended.
	 */
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static void begin(struct porter *porter, const struct porter_message *message, int *fds)
{
	static const struct visit_host host = {
		.to = VDM_TO_DAEMON,
		.opened = on_opened,
		.asked = on_asked,
		.left = on_left,
		.gone = on_gone,
	};
	const struct visitor visitor = {
		.session = message->session,
		.socket = fds[PORTER_VISITOR_SOCKET],
		.lease = fds[PORTER_VISITOR_LEASE],
		.peer = open_peer(fds[PORTER_VISITOR_SOCKET], message->value),
		.welcome = &message->welcome,
	};
	struct visit *visit = visit_begin(porter->event, &host, &porter->outbox, &visitor);

	if (!visit)
		outbox_give_up();
	LIST_INSERT_HEAD(&porter->visits[message->session % BUCKETS], visit, entry);
	fds[PORTER_VISITOR_SOCKET] = fds[PORTER_VISITOR_LEASE] = -1;
}

static void tell_received(struct porter *porter, const struct porter_message *bell)
{
	const struct porter_message received = {
		.type = PORTER_RECEIVED, .session = bell->session, .value = bell->value};

	if (bell->value)
		outbox_tell(&porter->outbox, &received);
}

/* That wakes what waits for room in the client's end. */
static void receive_bells(struct visit *visit, int doorbell)
{
	const uint64_t begin = thread_cpu_ns();

	drain(doorbell);
	if (visit)
		visit_has_woken(visit, thread_cpu_ns() - begin);
}

static void obey(struct porter *porter, const struct porter_message *message, int *fds,
		 unsigned count)
{
	struct visit *visit = find(porter, message->session);

	switch (message->type) {
	case PORTER_VISITOR:
		begin(porter, message, fds);
		break;
	case PORTER_REFUSE:
		vdm_packet_send(fds[0], &message->refused.header, NULL, 0);
		shutdown(fds[0], SHUT_RDWR);
		drain(fds[0]); /* for the daemon may have it open still, and close it last */
		break;
	case PORTER_ANSWER:
		if (visit)
			visit_answer(visit, &message->message, fds, count);
		break;
	case PORTER_HANG_UP:
		if (visit)
			visit_hang_up(visit);
		break;
	case PORTER_BELL:
		receive_bells(visit, fds[0]);
		tell_received(porter, message);
		break;
	}
}

/* There is no room for the descriptors that come with a message: it concerns one client alone. */
static void do_without(struct porter *porter, const struct porter_message *message)
{
	const struct porter_message gone = {.type = PORTER_GONE, .session = message->session};
	struct visit *visit = find(porter, message->session);

	if (message->type == PORTER_VISITOR)
		outbox_tell(&porter->outbox, &gone);
	else if (message->type == PORTER_BELL)
		tell_received(porter, message); /* it is as full as before, and is looked after */
	else if (visit)
		visit_give_up(visit);
}

static int receive(struct porter *porter)
{
	int fds[VDM_MESSAGE_MAX_FDS];
	struct porter_message message = {0};
	struct passing passing = {.bytes = &message,
				  .size = sizeof message,
				  .fds = fds,
				  .fd_count = VDM_MESSAGE_MAX_FDS};
	int result = passing_receive(porter->outbox.daemon, &passing, MSG_DONTWAIT);

	wait_for_memory(result);
	if (result == -EAGAIN || passing_may_retry(result))
		return result;
	if (result || passing.size == 0)
		outbox_give_up(); /* the daemon has ended */
	if (passing.flags & MSG_CTRUNC)
		do_without(porter, &message);
	else
		obey(porter, &message, fds, passing.fd_count);
	for (unsigned i = 0; i < passing.fd_count; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return 0;
}

static int on_daemon(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct porter *porter = context;

	(void)source;
	(void)fd;
	if (events & EPOLLOUT)
		wait_for_memory(outbox_send_rest(&porter->outbox));
	for (unsigned i = 0; i < MESSAGES_AT_ONCE && receive(porter) == 0; i++)
		;
	return 0;
}

struct porter *porter_new(int daemon)
{
	struct porter *porter = calloc(1, sizeof *porter);
	sd_event_source *source, *timer;

	if (!porter)
		return NULL;
	/* the first timer of an event loop takes a descriptor that stays: have it now, since the
	 * jail allows none later */
	if (sd_event_new(&porter->event) < 0 ||
	    sd_event_add_time(porter->event, &timer, CLOCK_MONOTONIC, UINT64_MAX, 0, NULL, NULL) <
		    0 ||
	    sd_event_add_io(porter->event, &source, daemon, EPOLLIN, on_daemon, porter) < 0) {
		sd_event_unref(porter->event);
		free(porter);
		return NULL;
	}
	sd_event_source_disable_unref(timer);
	outbox_init(&porter->outbox, daemon, source);
	return porter;
}

_Noreturn void porter_main(int daemon)
{
	struct porter *porter;

	prctl(PR_SET_NAME, "vdmd-porter");
	porter = porter_new(daemon);
	if (!porter || porter_jail() < 0)
		outbox_give_up();
	while (sd_event_loop(porter->event) == -ENOMEM)
		wait_for_memory(-ENOMEM); /* then what is level-triggered comes again */
	outbox_give_up();
}
