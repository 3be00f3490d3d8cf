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

/* Linux 6.5; older C libraries do not know it. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* Messages of one client that are handled before another's turn. */
#define MESSAGES_AT_ONCE 16

/* How often to look whether a client has read its last answer. */
#define UNREAD_LOOK_US (100 * 1000ull)

/* A client that connects has so long to say what it is. */
#define GREETING_US (10 * 1000000ull)

/* A descriptor for the process that connected; -1 if it cannot be had, or the process has ended. */
static int open_peer(int socket, pid_t pid)
{
	socklen_t size = sizeof(int);
	int fd;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0)
		return fd;
	/* Before Linux 6.5 by its number, which can only be another's if it has ended already. */
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* Whether the next message has to wait. */
static bool session_waits(const struct session *session)
{
	return session->ending || session->leaving_ring || session->leaving_region;
}

static int on_message(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct session *session = context;

	(void)source;
	(void)events;
	for (unsigned i = 0; i < MESSAGES_AT_ONCE; i++) {
		const char *reason = "a message was malformed";
		struct vdm_packet packet;
		int result = vdm_packet_receive(fd, &packet, 0);

		if (result == -EAGAIN)
			return 0;
		if (result == 0 || result == -EMFILE) {
			result = session->host->events.message(session, &packet, &reason);
		}
		reaper_close(session->host->reaper, session->user, packet.fds, packet.fd_count);
		if (result == -EPROTO || result == -EMSGSIZE) {
			session_violated(session, reason);
			return 0;
		}
		if (result) {
			session_end(session);
			return 0;
		}
		if (session_waits(session))
			return 0;
	}
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
	struct session *session = context;

	(void)source;
	(void)usec;
	if (!session->greeted)
		session_violated(session, "no greeting came after connecting");
	return 0;
}

static int watch(struct session *session)
{
	sd_event *event = session->host->event;
	int result = sd_event_add_io(event, &session->on_message, session->socket, EPOLLIN, on_message,
				     session);

	if (result >= 0)
		result = sd_event_add_time_relative(event, &session->on_silence, CLOCK_MONOTONIC,
						    GREETING_US, 1000000, on_silence, session);
	if (result >= 0)
		result = sd_event_add_io(event, &session->on_peer_end, session->peer_fd, EPOLLIN,
					 on_peer_end, session);
	return result < 0 ? result : 0;
}

int session_begin(struct session_host *host, struct user *user, const struct log_peer *peer, int socket,
		  char text[VDM_REFUSAL_TEXT])
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
		result = engine_memory_new(host->engine, (uint32_t)session->limits.regions_per_session,
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
	static_assert(sizeof more->operations == sizeof sum->operations, "one counter for each opcode");
	for (unsigned i = 0; i < VDM_STATUS_OPCODES; i++)
		sum->operations[i] += more->operations[i];
	sum->failed += more->failed;
	sum->bytes += more->bytes;
}

/* A worker has let go of what was to be removed. */
static void on_released(void *context)
{
	session_released(context);
}

int session_remove_ring(struct session *session, struct ring *ring, bool empty)
{
	const struct engine_waiter waiter = {on_released, session};
	struct engine_counters counters = {0};
	int result = ring->queue ? engine_queue_remove(ring->queue, &waiter, &counters) : 0;

	if (result)
		return result;
	add_engine_counters(&session->ended, &counters);
	LIST_REMOVE(ring, entry);
	ring_reap(ring, session->host->reaper, session->user, empty);
	charge_release(&ring->charge);
	free(ring);
	return 0;
}

int session_remove_region(struct session *session, struct region *region)
{
	const struct engine_waiter waiter = {on_released, session};
	int result = engine_region_remove(session->memory, region->id, &waiter);

	if (result == -EAGAIN)
		return result;
	region_unmap(session->host->prefault, session->host->reaper, session->user, region);
	LIST_REMOVE(region, entry);
	charge_release(&region->charge);
	free(region);
	return 0;
}

int session_release_for_client(struct session *session, struct ring *ring, struct region *region)
{
	struct vdm_message_done done = {.header = {VDM_MESSAGE_DONE, sizeof done}};
	int result = ring ? session_remove_ring(session, ring, true) : session_remove_region(session, region);
	bool later = result == -EAGAIN;

	session->leaving_ring = later ? ring : NULL;
	session->leaving_region = later ? region : NULL;
	sd_event_source_set_enabled(session->on_message, later ? SD_EVENT_OFF : SD_EVENT_ON);
	return later ? 0 : vdm_packet_send(session->socket, &done.header, NULL, 0);
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
	struct reaping *reaping = session->report ? reaping_new(session->user, 0) : NULL;

	if (reaping) {
		reaping->memory[0].base = session->report;
		reaping->memory[0].size = session->report_size;
		reaping->memory[0].empty = !session->host->stopping;
		reaping->memory_count = 1;
		reaper_submit(session->host->reaper, reaping);
	} else if (session->report) {
		munmap(session->report, session->report_size);
	}
	session->report = NULL;
}

bool session_has_unread_answers(const struct session *session)
{
	int unread;

	return ioctl(session->socket, SIOCOUTQ, &unread) < 0 || unread > 0;
}

/* Give back its rings and regions: 0, or -EAGAIN as long as a worker is at one of them. */
static int remove_all(struct session *session)
{
	struct ring *ring, *next_ring;
	struct region *region, *next_region;

	for (ring = LIST_FIRST(&session->rings); ring; ring = next_ring) {
		next_ring = LIST_NEXT(ring, entry);
		session_remove_ring(session, ring, !session->host->stopping);
	}
	if (!LIST_EMPTY(&session->rings))
		return -EAGAIN;
	for (region = LIST_FIRST(&session->regions); region; region = next_region) {
		next_region = LIST_NEXT(region, entry);
		session_remove_region(session, region);
	}
	return LIST_EMPTY(&session->regions) ? 0 : -EAGAIN;
}

/* When nothing is left of it but its socket. */
static void session_free(struct session *session)
{
	struct session_host *host = session->host;

	sd_event_source_disable_unref(session->on_unread);
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

/* What came after its end is not handled. It may hold the client's own end of the socket, which then is not closed, and
 * its answers not given up, before it has been taken from here. */
static void discard_messages(struct session *session)
{
	for (unsigned i = 0; i < MESSAGES_AT_ONCE && reaper_finds_messages(session->socket); i++) {
		struct vdm_packet packet;

		vdm_packet_receive(session->socket, &packet, 0);
		reaper_close(session->host->reaper, session->user, packet.fds, packet.fd_count);
	}
}

/* Descriptors that are on their way count as ours, also after our end of the socket has been closed (unix(7),
 * ETOOMANYREFS): a client that does not read his last answer goes on paying for his session. */
static int on_unread(sd_event_source *source, uint64_t usec, void *context)
{
	(void)usec;
	discard_messages(context);
	if (session_has_unread_answers(context)) {
		sd_event_source_set_time_relative(source, UNREAD_LOOK_US);
		return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	}
	session_free(context);
	return 0;
}

/* When its rings and regions are gone: not before does it hang up, for that tells the client so. */
static void session_close(struct session *session)
{
	if (session->socket >= 0)
		shutdown(session->socket, SHUT_RDWR);
	if (session->on_unread && !session->host->stopping)
		return; /* it waits already */
	if (session->socket >= 0 && !session->host->stopping && session_has_unread_answers(session) &&
	    sd_event_add_time_relative(session->host->event, &session->on_unread, CLOCK_MONOTONIC, UNREAD_LOOK_US,
				       UNREAD_LOOK_US / 10, on_unread, session) >= 0)
		return;
	session_free(session);
}

void session_end(struct session *session)
{
	if (session->ending) {
		session_released(session);
		return;
	}
	session->ending = true;
	session->on_message = sd_event_source_disable_unref(session->on_message);
	session->on_peer_end = sd_event_source_disable_unref(session->on_peer_end);
	session->on_silence = sd_event_source_disable_unref(session->on_silence);
	int result = remove_all(session);

	if (session->peer_fd >= 0)
		close(session->peer_fd);
	session->peer_fd = -1;
	if (!result)
		session_close(session);
}

void session_released(struct session *session)
{
	if (session->ending) {
		if (remove_all(session) == 0)
			session_close(session);
	} else if (session_waits(session) &&
		   session_release_for_client(session, session->leaving_ring, session->leaving_region) < 0) {
		session_end(session);
	}
}

void session_violated(struct session *session, const char *reason)
{
	log_limited(LOG_WARNING, &session->peer,
		    "session ended for breaking the protocol: %s", reason);
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

	if (session->ending)
		return;
	/* acquire; partner: session_note_over_limit(), release */
	if (atomic_exchange_explicit(&session->over_limit, false, memory_order_acquire))
		log_limited(LOG_WARNING, &session->peer,
			    "refused: an operation that would have had the user exceed in_flight_bytes_per_user, %llu",
			    (unsigned long long)session->user->settings.limits.in_flight_bytes_per_user);
	if (reason)
		session_violated(session, reason);
}
