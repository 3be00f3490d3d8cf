/* SPDX-License-Identifier: BSD-3-Clause */
#include "visit.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "drain.h"
#include "log.h"
#include "refusal.h"

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

const char *visit_violation(int32_t reason)
{
	static const char *const texts[PORTER_REASON_COUNT] = {
		[PORTER_SILENT] = "no greeting came after connecting",
		[PORTER_MALFORMED] = "a message was malformed",
		[PORTER_UNKNOWN_TYPE] = "a message is of a type that clients do not send",
		[PORTER_WRONG_SIZE] = "a message does not have the size of its type",
		[PORTER_NO_GREETING] = "a request came before the greeting",
		[PORTER_GREETED_TWICE] = "it greeted twice",
		[PORTER_BAD_GREETING] = "its greeting is malformed",
		[PORTER_UNREAD_ANSWER] =
			"it asked for descriptors without having read the answer before",
		[PORTER_WRONG_DESCRIPTORS] =
			"a message does not have the number of descriptors of its type",
		[PORTER_CROWDED] = "so much waits for its socket that waking it takes too long",
	};

	return reason >= 0 && reason < PORTER_REASON_COUNT ? texts[reason] : NULL;
}

static void close_if_open(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Enter a state, with the sources of events that it needs. Returns 0 or a negative errno. */
static int set_state(struct visit *visit, enum visit_state state)
{
#define TO(state) (1u << VISIT_##state)
	static const struct {
		unsigned next; /* states that may follow */
		bool listens;
	} states[] = {
		[VISIT_GREETING] = {TO(OPEN) | TO(LEAVING) | TO(UNREAD) | TO(GONE), true},
		[VISIT_OPEN] = {TO(ASKED) | TO(LEAVING) | TO(UNREAD) | TO(GONE), true},
		[VISIT_ASKED] = {TO(OPEN) | TO(LEAVING) | TO(UNREAD) | TO(GONE), true},
		[VISIT_LEAVING] = {TO(UNREAD) | TO(GONE), false},
		[VISIT_UNREAD] = {TO(GONE), true},
		[VISIT_GONE] = {0, false},
	};
#undef TO

	if (!(states[visit->state].next & 1u << state)) {
		log_message(LOG_CRIT, NULL, "a visit goes from state %d to %d", visit->state,
			    state);
		abort();
	}
	visit->state = state;
	visit->on_silence = sd_event_source_disable_unref(visit->on_silence);
	if (state >= VISIT_LEAVING) {
		visit->on_peer_end = sd_event_source_disable_unref(visit->on_peer_end);
		close_if_open(&visit->peer_fd);
	}
	if (!visit->on_socket)
		return state == VISIT_UNREAD ? -ENOMEM : 0;

	int result =
		sd_event_source_set_enabled(visit->on_socket,
					    states[state].listens ? SD_EVENT_ON : SD_EVENT_OFF);

	return result < 0 ? result : 0;
}

static void leave(struct visit *visit, enum porter_reason reason)
{
	set_state(visit, VISIT_LEAVING);
	visit->host->left(visit, reason);
}

/*
 * Whether the client has left an answer unread. Descriptors in unread messages count as those of
 * the sender's user id (unix(7), ETOOMANYREFS), so a client that let them pile up would use up what
 * all clients share.
 */
static bool has_unread_answers(const struct visit *visit)
{
	int bytes;

	return ioctl(visit->socket, SIOCOUTQ, &bytes) < 0 || bytes >= SMALLEST_ANSWER;
}

void visit_has_woken(struct visit *visit, uint64_t ns)
{
	visit->slow_wakes = ns > MOST_WAKE_NS ? visit->slow_wakes + 1 : 0;
	if (visit->slow_wakes == MOST_SLOW_WAKES && visit->state < VISIT_LEAVING)
		leave(visit, PORTER_CROWDED);
}

/* An answer has been sent, or has not. `begin`: the CPU time of this thread before that. */
static void has_answered(struct visit *visit, int result, uint64_t begin)
{
	if (result)
		leave(visit, PORTER_CLIENT_DEAF);
	else
		visit_has_woken(visit, thread_cpu_ns() - begin);
}

static void answer(struct visit *visit, const struct vdm_message_header *message, const int *fds,
		   unsigned count)
{
	const uint64_t begin = thread_cpu_ns();

	has_answered(visit, vdm_packet_send(visit->socket, message, fds, count), begin);
}

static void refuse_request(struct visit *visit, uint32_t type, int error, const char *text)
{
	const uint64_t begin = thread_cpu_ns();

	has_answered(visit, refusal_send(visit->socket, type, error, text), begin);
}

static void refuse_greeting(struct visit *visit, int error, const char *text)
{
	refuse_request(visit, VDM_MESSAGE_HELLO, error, text);
}

/* Whether a library of another version greets. Its greeting may have another size. */
static bool greets_in_another_version(const struct vdm_packet *packet)
{
	const struct vdm_message_hello *hello = &packet->message.hello;

	return hello->header.type == VDM_MESSAGE_HELLO &&
	       packet->size >= offsetof(struct vdm_message_hello, reserved) &&
	       hello->magic == VDM_PROTOCOL_MAGIC && hello->version != VDM_PROTOCOL_VERSION;
}

static void refuse_version(struct visit *visit, uint32_t version)
{
	char text[VDM_REFUSAL_TEXT];

	refuse(text, 0,
	       "vdmd %s speaks version %d of the protocol and the client's library version %u: "
	       "install libvdm and vdmd of one release, and restart the one that is older",
	       VDM_VERSION, VDM_PROTOCOL_VERSION, version);
	refuse_greeting(visit, -EPROTONOSUPPORT, text);
}

static void greet(struct visit *visit, const struct vdm_message_hello *hello)
{
	const uint64_t missing = hello->features & ~visit->welcome.features;
	char text[VDM_REFUSAL_TEXT];

	if (visit->state != VISIT_GREETING) {
		leave(visit, PORTER_GREETED_TWICE);
		return;
	}
	if (hello->magic != VDM_PROTOCOL_MAGIC || hello->reserved) {
		leave(visit, PORTER_BAD_GREETING);
		return;
	}
	if (missing) {
		refuse(text, 0, "vdmd %s does not have the features 0x%llx that the client needs",
		       VDM_VERSION, (unsigned long long)missing);
		refuse_greeting(visit, -EOPNOTSUPP, text);
		return;
	}
	set_state(visit, VISIT_OPEN);
	answer(visit, &visit->welcome.header, &visit->lease, VDM_WELCOME_FD_COUNT);
	close_if_open(&visit->lease);
	visit->host->opened(visit, hello->command);
}

/* Pass a request on, and keep its descriptor until the answer. */
static void ask(struct visit *visit, struct vdm_packet *packet)
{
	if (packet->fd_count > 0)
		visit->passed = vdm_packet_take(packet, 0);
	set_state(visit, VISIT_ASKED);
	visit->host->asked(visit, &packet->message, packet->size);
}

static enum porter_reason what_is_wrong(const struct visit *visit, const struct vdm_packet *packet)
{
	const struct vdm_request *request = vdm_request(packet->message.header.type);

	if (!request || !(request->to & visit->host->to))
		return PORTER_UNKNOWN_TYPE;
	if (packet->size != request->size)
		return PORTER_WRONG_SIZE;
	if (visit->state == VISIT_GREETING && packet->message.header.type != VDM_MESSAGE_HELLO)
		return PORTER_NO_GREETING;
	if (request->answers_with_fds && has_unread_answers(visit))
		return PORTER_UNREAD_ANSWER;
	if (!packet->truncated && packet->fd_count != request->fds)
		return PORTER_WRONG_DESCRIPTORS;
	return PORTER_CLIENT_LEFT; /* nothing */
}

static void handle(struct visit *visit, struct vdm_packet *packet)
{
	enum porter_reason wrong;

	if (visit->state == VISIT_GREETING && greets_in_another_version(packet)) {
		refuse_version(visit, packet->message.hello.version);
		return;
	}
	wrong = what_is_wrong(visit, packet);
	if (wrong)
		leave(visit, wrong);
	else if (packet->truncated)
		refuse_request(visit, packet->message.header.type, -EMFILE,
			       "vdmd is out of descriptors (LimitNOFILE)");
	else if (packet->message.header.type == VDM_MESSAGE_HELLO)
		greet(visit, &packet->message.hello);
	else
		ask(visit, packet);
}

/* Returns whether there may be another message to receive. */
static bool receive(struct visit *visit)
{
	struct vdm_packet packet;
	int result = vdm_packet_receive(visit->socket, &packet, 0);

	if (result == -EAGAIN)
		return false;
	if (result == 0 || result == -EMFILE)
		handle(visit, &packet);
	else
		leave(visit, result == -EPROTO || result == -EMSGSIZE ? PORTER_MALFORMED
								      : PORTER_CLIENT_LEFT);
	vdm_packet_close(&packet);
	return visit->state <= VISIT_OPEN;
}

/*
 * Discard a message that came after the end. It may hold the client's own end of the socket, which
 * would stay open, with the unread answers. Returns 1 if there was one, 0 if not, or the error of
 * receiving it.
 */
static int discard_message(struct visit *visit)
{
	struct vdm_packet packet;

	if (!drain_finds_messages(visit->socket))
		return 0;

	int result = vdm_packet_receive(visit->socket, &packet, 0);

	vdm_packet_close(&packet);
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
static int watch_reader(struct visit *visit)
{
	return sd_event_source_set_io_events(visit->on_socket, EPOLLOUT | EPOLLET);
}

static void end(struct visit *visit)
{
	set_state(visit, VISIT_GONE);
	visit->on_socket = sd_event_source_disable_unref(visit->on_socket);
	drain(visit->socket); /* for the daemon may have it open still, and close it last */
	close(visit->socket);
	close_if_open(&visit->lease);
	close_if_open(&visit->passed);
	visit->host->gone(visit);
	LIST_REMOVE(visit, entry);
	free(visit);
}

/* An event of that kind has come. */
static void look_at_reader(struct visit *visit)
{
	int result = 1;

	for (unsigned i = 0; i < MESSAGES_AT_ONCE && result > 0; i++)
		result = discard_message(visit);
	/* What cannot be received may be the client's last end: no event would come for that. Our
	 * end is closed with it. */
	bool wait =
		result > 0 ? watch_reader(visit) >= 0 : result == 0 && has_unread_answers(visit);

	if (!wait)
		end(visit);
}

static int on_socket(sd_event_source *source, int fd, uint32_t events, void *context)
{
	struct visit *visit = context;

	(void)source;
	(void)fd;
	(void)events;
	if (visit->state == VISIT_UNREAD) {
		look_at_reader(visit);
		return 0;
	}
	if (visit->state == VISIT_ASKED) {
		/* few clients send anything before they have their answer */
		sd_event_source_set_enabled(visit->on_socket, SD_EVENT_OFF);
		return 0;
	}
	for (unsigned i = 0; i < MESSAGES_AT_ONCE && receive(visit); i++)
		;
	return 0;
}

static int on_peer_end(sd_event_source *source, int fd, uint32_t events, void *context)
{
	(void)source;
	(void)fd;
	(void)events;
	leave(context, PORTER_CLIENT_LEFT);
	return 0;
}

static int on_silence(sd_event_source *source, uint64_t usec, void *context)
{
	(void)source;
	(void)usec;
	leave(context, PORTER_SILENT);
	return 0;
}

static int watch(struct visit *visit)
{
	sd_event *event = visit->event;
	int result =
		sd_event_add_io(event, &visit->on_socket, visit->socket, EPOLLIN, on_socket, visit);

	if (result >= 0 && visit->state == VISIT_GREETING)
		result = sd_event_add_time_relative(event, &visit->on_silence, CLOCK_MONOTONIC,
						    GREETING_US, 1000000, on_silence, visit);
	if (result >= 0)
		result = sd_event_add_io(event, &visit->on_peer_end, visit->peer_fd, EPOLLIN,
					 on_peer_end, visit);
	return result < 0 ? result : 0;
}

struct visit *visit_begin(sd_event *event, const struct visit_host *host, void *context,
			  const struct visitor *visitor)
{
	struct visit *visit = calloc(1, sizeof *visit);

	if (!visit)
		return NULL;
	visit->event = event;
	visit->host = host;
	visit->context = context;
	visit->session = visitor->session;
	visit->socket = visitor->socket;
	visit->lease = visitor->lease;
	visit->peer_fd = visitor->peer;
	visit->passed = -1;
	visit->welcome = *visitor->welcome;
	/* there is no session without a descriptor that tells when the client has gone */
	if (visit->peer_fd >= 0)
		receive(visit); /* most clients have sent their greeting already */
	if (visit->state < VISIT_LEAVING && (visit->peer_fd < 0 || watch(visit) < 0)) {
		refusal_send(visit->socket, VDM_MESSAGE_HELLO, -EMFILE,
			     "vdmd is out of memory or descriptors");
		leave(visit, PORTER_NO_DESCRIPTORS);
	}
	return visit;
}

void visit_answer(struct visit *visit, const union vdm_message *message, const int *fds,
		  unsigned count)
{
	close_if_open(&visit->passed);
	if (visit->state != VISIT_ASKED)
		return;                       /* it is leaving, and the daemon did not know */
	if (set_state(visit, VISIT_OPEN) < 0) /* no other request would ever be received */
		leave(visit, PORTER_NO_DESCRIPTORS);
	else if (message->header.size > 0)
		answer(visit, &message->header, fds, count);
}

void visit_give_up(struct visit *visit)
{
	if (visit->state < VISIT_LEAVING)
		leave(visit, PORTER_NO_DESCRIPTORS);
}

void visit_hang_up(struct visit *visit)
{
	if (visit->state >= VISIT_UNREAD)
		return;
	close_if_open(&visit->passed); /* the client may have passed its own end */
	shutdown(visit->socket, SHUT_RDWR);
	if (!has_unread_answers(visit) || watch_reader(visit) < 0 ||
	    set_state(visit, VISIT_UNREAD) < 0)
		end(visit);
}
