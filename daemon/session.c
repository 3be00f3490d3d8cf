/* SPDX-License-Identifier: BSD-3-Clause */
#include "session.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "reaper.h"
#include "refusal.h"
#include "region.h"
#include "ring.h"

/* Linux 6.5; older C libraries do not know it. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* Messages of one client that are handled before other events have their turn. */
#define MESSAGES_AT_ONCE 16

/*
 * SIOCOUTQ counts the kernel's buffer of an unread answer, which is larger than this. An answer
 * that is being read at this moment may still count one byte, when its event has come already
 * (sock_wfree in net/core of Linux's source).
 */
#define SMALLEST_ANSWER 256

/* How long a client that has connected may take to say what it is. */
#define GREETING_US (10 * 1000000ull)

static void session_free(struct session *session);

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

/*
 * Enter a state, with the sources of events that it needs. Returns 0, or a negative errno if the
 * socket cannot be listened to.
 */
static int set_state(struct session *session, enum session_state state)
{
#define TO(state) (1u << SESSION_##state)
	static const struct {
		unsigned next; /* states that may follow */
		bool listens;
	} states[] = {
		[SESSION_GREETING] = {TO(OPEN) | TO(ENDING), true},
		[SESSION_OPEN] = {TO(WAITING) | TO(ENDING), true},
		[SESSION_WAITING] = {TO(OPEN) | TO(ENDING), false},
		[SESSION_ENDING] = {TO(UNREAD) | TO(GONE), false},
		[SESSION_UNREAD] = {TO(GONE), true},
		[SESSION_GONE] = {0, false},
	};
#undef TO

	if (!(states[session->state].next & 1u << state)) {
		log_message(LOG_CRIT, &session->peer, "a session goes from state %d to %d",
			    session->state, state);
		abort();
	}
	session->state = state;
	session->on_silence = sd_event_source_disable_unref(session->on_silence);
	if (state >= SESSION_ENDING)
		session->on_peer_end = sd_event_source_disable_unref(session->on_peer_end);

	int result =
		sd_event_source_set_enabled(session->on_socket,
					    states[state].listens ? SD_EVENT_ON : SD_EVENT_OFF);

	return result < 0 ? result : 0;
}

void session_open(struct session *session)
{
	set_state(session, SESSION_OPEN);
}

/*
 * Receive a message and handle it. Returns 0, or a negative errno if there is none, or the session
 * has ended.
 */
static int handle_message(struct session *session)
{
	const char *reason = "a message was malformed";
	struct vdm_packet packet;
	int result = vdm_packet_receive(session->socket, &packet, 0);

	if (result == -EAGAIN)
		return result;
	if (result == 0 || result == -EMFILE)
		result = session->host->events.message(session, &packet, &reason);
	reaper_close(session->host->reaper, session->user, packet.fds, packet.fd_count);
	if (result == -EPROTO || result == -EMSGSIZE)
		session_violated(session, reason);
	else if (result)
		session_end(session);
	return result;
}

static void handle_messages(struct session *session)
{
	for (unsigned i = 0; i < MESSAGES_AT_ONCE; i++)
		if (handle_message(session) || session->state == SESSION_WAITING)
			return;
}

/*
 * Discard a message that came after the end. It may hold the client's own end of the socket, which
 * would stay open, with the unread answers. Returns 1 if there was one, 0 if not, or the error of
 * receiving it.
 */
static int discard_message(struct session *session)
{
	struct vdm_packet packet;

	if (!reaper_finds_messages(session->socket))
		return 0;

	int result = vdm_packet_receive(session->socket, &packet, 0);

	reaper_close(session->host->reaper, session->user, packet.fds, packet.fd_count);
	if (result == -EAGAIN)
		return 0;
	return result == 0 || result == -EMSGSIZE || result == -EPROTO || result == -EMFILE ||
			       result == -ENOTCONN
		       ? 1
		       : result;
}

/*
 * Ask for an event now, and for one whenever the client reads an answer or closes its end: Linux
 * then wakes those that poll for room in our end (unix_write_space in net/unix of its source).
 * Level-triggered, that would be ready all the time.
 */
static int watch_reader(struct session *session)
{
	return sd_event_source_set_io_events(session->on_socket, EPOLLOUT | EPOLLET);
}

/* An event of that kind has come. */
static void look_at_reader(struct session *session)
{
	int result = 1;

	for (unsigned i = 0; i < MESSAGES_AT_ONCE && result > 0; i++)
		result = discard_message(session);
	/* What cannot be received may be the client's last end: no event would come for that. Our
	 * end is closed with it. */
	bool wait = result > 0 ? watch_reader(session) >= 0
			       : result == 0 && session_has_unread_answers(session);

	if (!wait)
		session_free(session);
}

void session_look_again(struct session *session)
{
	if (session->state == SESSION_UNREAD && watch_reader(session) < 0)
		session_free(session);
}

static int on_socket(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct session *session = context;

	(void)source;
	(void)fd;
	(void)events;
	if (session->state == SESSION_UNREAD)
		look_at_reader(session);
	else
		handle_messages(session);
	return 0;
}

static int on_peer_end(sd_event_source *source, int fd, uint32_t events, void *context)
{
	(void)source;
	(void)fd;
	(void)events;
	session_end(context);
	return 0;
}

static int on_silence(sd_event_source *source, uint64_t usec, void *context)
{
	(void)source;
	(void)usec;
	session_violated(context, "no greeting came after connecting");
	return 0;
}

static int watch(struct session *session)
{
	sd_event *event = session->host->event;
	int result = sd_event_add_io(event, &session->on_socket, session->socket, EPOLLIN,
				     on_socket, session);

	if (result >= 0)
		result = sd_event_add_time_relative(event, &session->on_silence, CLOCK_MONOTONIC,
						    GREETING_US, 1000000, on_silence, session);
	if (result >= 0)
		result = sd_event_add_io(event, &session->on_peer_end, session->peer_fd, EPOLLIN,
					 on_peer_end, session);
	return result < 0 ? result : 0;
}

int session_begin(struct session_host *host, struct user *user, const struct log_peer *peer,
		  int socket, char text[VDM_REFUSAL_TEXT])
{
	struct session *session = calloc(1, sizeof *session);

	if (!session)
		return refuse(text, -ENOMEM, "vdmd is out of memory");
	session->book.sum = &user->book;

	int result = charge_session(&session->charge, &session->book, text);

	if (result) {
		free(session);
		return result;
	}
	session->host = host;
	session->user = user_ref(user);
	session->peer = *peer;
	session->began_ns = monotonic_ns();
	session->socket = socket;
	session->peer_fd = open_peer(socket, peer->pid);
	session->limits = user->settings.limits;
	LIST_INIT(&session->rings);
	LIST_INIT(&session->regions);
	LIST_INSERT_HEAD(&host->sessions, session, entry);

	/* there is no session without a descriptor that tells when the process ends */
	result = session->peer_fd < 0 ? -EMFILE : 0;
	if (!result)
		result = engine_memory_new(host->engine,
					   (uint32_t)session->limits.regions_per_session,
					   &session->memory);
	if (!result)
		result = watch(session);
	if (result) {
		session->socket = -1; /* it stays the caller's */
		session_end(session);
		return refuse(text, result, "vdmd is out of memory or descriptors");
	}
	host->events.changed(host->events.context);
	return 0;
}

static void add_engine_counters(struct vdm_report_counters *sum, const struct engine_counters *more)
{
	static_assert(sizeof more->operations == sizeof sum->operations,
		      "one counter for each opcode");
	for (unsigned i = 0; i < VDM_STATUS_OPCODES; i++)
		sum->operations[i] += more->operations[i];
	sum->failed += more->failed;
	sum->bytes += more->bytes;
}

static void on_released(void *session);

/* Give back a ring: 0, or -EAGAIN as long as a worker uses it. */
static int remove_ring(struct session *session, struct ring *ring)
{
	const struct engine_waiter waiter = {on_released, session};
	struct engine_counters counters;
	int result = engine_queue_remove(ring->queue, &waiter, &counters);

	if (result)
		return result;
	add_engine_counters(&session->ended, &counters);
	LIST_REMOVE(ring, entry);
	ring_dispose(ring, session->host->reaper, session->user, !session->host->stopping);
	charge_release(&ring->charge);
	free(ring);
	return 0;
}

/* Give back a region: 0, or -EAGAIN as long as a worker uses it. */
static int remove_region(struct session *session, struct region *region)
{
	const struct engine_waiter waiter = {on_released, session};
	int result = engine_region_remove(session->memory, region->id, &waiter);

	if (result)
		return result;
	LIST_REMOVE(region, entry);
	region_dispose(region, session->host->prefault, session->host->reaper, session->user);
	charge_release(&region->charge);
	free(region);
	return 0;
}

/* Give back all rings, and then all regions: 0, or -EAGAIN as long as a worker uses one of them. */
static int remove_all(struct session *session)
{
	struct ring *ring, *next_ring;
	struct region *region, *next_region;

	for (ring = LIST_FIRST(&session->rings); ring; ring = next_ring) {
		next_ring = LIST_NEXT(ring, entry);
		remove_ring(session, ring);
	}
	if (!LIST_EMPTY(&session->rings))
		return -EAGAIN;
	for (region = LIST_FIRST(&session->regions); region; region = next_region) {
		next_region = LIST_NEXT(region, entry);
		remove_region(session, region);
	}
	return LIST_EMPTY(&session->regions) ? 0 : -EAGAIN;
}

/* Remove what the client gives back, and answer; or wait for a worker to let go of it. */
static int remove_leaving(struct session *session)
{
	struct vdm_message_done done = {.header = {VDM_MESSAGE_DONE, sizeof done}};
	int result = session->leaving_ring ? remove_ring(session, session->leaving_ring)
					   : remove_region(session, session->leaving_region);

	if (result == -EAGAIN)
		return session->state == SESSION_WAITING ? 0 : set_state(session, SESSION_WAITING);
	session->leaving_ring = NULL;
	session->leaving_region = NULL;
	result = session->state == SESSION_WAITING ? set_state(session, SESSION_OPEN) : 0;
	return result ? result : vdm_packet_send(session->socket, &done.header, NULL, 0);
}

int session_remove_for_client(struct session *session, struct ring *ring, struct region *region)
{
	session->leaving_ring = ring;
	session->leaving_region = region;
	return remove_leaving(session);
}

void report_counters_add(struct vdm_report_counters *sum, const struct vdm_report_counters *more)
{
	for (unsigned i = 0; i < VDM_STATUS_OPCODES; i++)
		sum->operations[i] += more->operations[i];
	sum->failed += more->failed;
	sum->bytes += more->bytes;
}

void session_counters(const struct session *session, struct vdm_report_counters *counters,
		      uint64_t *in_flight)
{
	const struct ring *ring;

	*counters = session->ended;
	*in_flight = 0;
	LIST_FOREACH(ring, &session->rings, entry) {
		struct engine_counters of_ring;

		engine_queue_counters(ring->queue, &of_ring);
		add_engine_counters(counters, &of_ring);
		*in_flight += of_ring.in_flight;
	}
}

void session_drop_report(struct session *session)
{
	struct reaper_job *job = session->report ? reaper_job_new(session->user, 0) : NULL;

	if (job) {
		reaper_job_add_memory(job, session->report, session->report_size,
				      !session->host->stopping);
		reaper_submit(session->host->reaper, job);
	} else if (session->report) {
		munmap(session->report, session->report_size);
	}
	session->report = NULL;
}

bool session_has_unread_answers(const struct session *session)
{
	int bytes;

	return ioctl(session->socket, SIOCOUTQ, &bytes) < 0 || bytes >= SMALLEST_ANSWER;
}

static void session_free(struct session *session)
{
	struct session_host *host = session->host;

	set_state(session, SESSION_GONE);
	sd_event_source_disable_unref(session->on_socket);
	session_drop_report(session);
	reaper_close_socket(host->reaper, session->user, session->socket);
	if (session->memory)
		engine_memory_delete(session->memory);
	report_counters_add(&host->ended, &session->ended);
	log_message(LOG_DEBUG, &session->peer, "ended");
	charge_release(&session->charge);
	book_close(&session->book);
	user_put(session->user);
	LIST_REMOVE(session, entry);
	free(session);
	host->events.changed(host->events.context);
}

/*
 * Hang up when the rings and regions are gone, not earlier: to the client that proves that nothing
 * moves its bytes any more. Descriptors in unread answers count as ours, also after our end of the
 * socket has been closed (unix(7), ETOOMANYREFS). So a client that does not read its last answer
 * goes on paying for its session.
 */
static void hang_up(struct session *session)
{
	if (session->socket >= 0)
		shutdown(session->socket, SHUT_RDWR);

	bool wait = session->socket >= 0 && !session->host->stopping &&
		    session_has_unread_answers(session);

	if (!wait || watch_reader(session) < 0 || set_state(session, SESSION_UNREAD) < 0)
		session_free(session);
}

/* Remove what is left, now or as workers let go of it, and then hang up. */
static void go_on_ending(struct session *session)
{
	if (remove_all(session) == 0)
		hang_up(session);
}

/* A worker has let go of what this session may wait for: go on. That may end the session. */
static void on_released(void *context)
{
	struct session *session = context;

	if (session->state == SESSION_ENDING)
		go_on_ending(session);
	else if (session->state == SESSION_WAITING && remove_leaving(session) < 0)
		session_end(session);
}

void session_end(struct session *session)
{
	if (session->state == SESSION_UNREAD) {
		session_free(session);
		return;
	}
	if (session->state != SESSION_ENDING)
		set_state(session, SESSION_ENDING);
	if (session->peer_fd >= 0)
		close(session->peer_fd);
	session->peer_fd = -1;
	go_on_ending(session);
}

void session_violated(struct session *session, const char *reason)
{
	log_limited(LOG_WARNING, &session->peer, "session ended for breaking the protocol: %s",
		    reason);
	session->host->violated++;
	session_end(session);
}

void session_note_violation(void *context, const char *reason)
{
	struct session *session = context;

	/* release; partner: session_take_notes(), acquire */
	atomic_store_explicit(&session->violation, reason, memory_order_release);
	eventfd_write(session->host->note_fd, 1);
}

void session_note_over_limit(void *context)
{
	struct session *session = context;

	/* release; partner: session_take_notes(), acquire */
	if (!atomic_exchange_explicit(&session->over_limit, true, memory_order_release))
		eventfd_write(session->host->note_fd, 1);
}

void session_take_notes(struct session *session)
{
	/* acquire; partner: session_note_violation(), release */
	const char *reason = atomic_load_explicit(&session->violation, memory_order_acquire);

	if (session->state >= SESSION_ENDING)
		return;
	/* acquire; partner: session_note_over_limit(), release */
	if (atomic_exchange_explicit(&session->over_limit, false, memory_order_acquire))
		log_limited(LOG_WARNING, &session->peer,
			    "refused: an operation that would have had the user exceed "
			    "in_flight_bytes_per_user, %llu",
			    (unsigned long long)
				    session->user->settings.limits.in_flight_bytes_per_user);
	if (reason)
		session_violated(session, reason);
}
