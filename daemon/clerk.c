/* SPDX-License-Identifier: BSD-3-Clause */
#include "clerk.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "birth.h"
#include "detached_thread.h"
#include "filing.h"
#include "house.h"
#include "log.h"
#include "notes.h"
#include "populate.h"
#include "proto/passing.h"
#include "proto/porter.h"
#include "request.h"
#include "ring.h"
#include "session.h"
#include "visit.h"

/* How long a user without sessions keeps its porter. */
#define IDLE_MS 2000

/* One that serves, and one that ends: what keeps it from ending keeps its user from having more. */
#define MOST_CLERKS 2

/* Refused clients that may wait to be told so: when more do, the clerk is being held up. */
#define MOST_REFUSED 64

/* How soon to try again when the kernel has no memory. */
#define RETRY_MS 10

/* Messages of the porter that are handled before notes have their turn. */
#define MESSAGES_AT_ONCE 16

#define BUCKETS 64

/* The memory of sessions that have ended is worth giving back when a quarter is left of so many. */
#define MANY_SESSIONS 32

/* The optional parts of the protocol that this daemon has. */
#define FEATURES (VDM_FEATURE_TAKE_BACK | VDM_FEATURE_FILES)

/* A client that gets no session. */
struct refused_client {
	STAILQ_ENTRY(refused_client) entry;
	int socket;
	struct vdm_message_refused message;
};

struct clerk {
	LIST_ENTRY(clerk) entry; /* house::clerks */
	struct house *house;
	struct user *user;
	int porter;       /* socket */
	struct born born; /* the porter; .directory is -1 until then */
	struct filing filing;
	struct engine_account *account;
	LIST_HEAD(, session) sessions[BUCKETS]; /* guarded by the house's lock */
	unsigned session_count;                 /* guarded by the house's lock */
	unsigned most_sessions;                 /* since memory was last given back to the kernel */
	STAILQ_HEAD(, session) arrivals;        /* that the porter has not been told of; as above */
	STAILQ_HEAD(, refused_client) refused;  /* to be told so; as above */
	unsigned refused_count;                 /* as above */
	/* One of these lists has become longer. relaxed: a hint, since the lists have their lock */
	_Atomic bool arrived;
	struct notes notes;
	struct populate_list populating;
};

static int send_message(const struct clerk *clerk, const struct porter_message *message,
			const int *fds, unsigned count)
{
	return passing_send(clerk->porter, message, porter_message_size(message), fds, count,
			    MSG_DONTWAIT);
}

static void on_violation(void *context);
static void on_over_limit(void *context);
static void receive_bells(struct ring *ring, bool last);

/* The clerk's thread tells the porter: a send wakes all that waits for the porter's socket. */
static void call_clerk(struct clerk *clerk)
{
	atomic_store_explicit(&clerk->arrived, true, memory_order_relaxed);
	notes_wake(&clerk->notes);
}

bool clerk_is_alone(const struct clerk *clerk)
{
	struct pollfd porter = {.fd = clerk->porter};

	return poll(&porter, 1, 0) > 0;
}

int clerk_admit(struct clerk *clerk, const struct log_peer *peer, int socket,
		char text[VDM_REFUSAL_TEXT])
{
	struct session *session;
	int result = session_new(clerk->house, clerk->user, peer, socket, &session, text);

	if (result)
		return result;
	session->clerk = clerk;
	session->receive_bells = receive_bells;
	session->notes = &clerk->notes;
	session->filing = &clerk->filing;
	session->populating = &clerk->populating;
	session->violated_note = (struct note){.take = on_violation, .context = session};
	session->over_limit_note = (struct note){.take = on_over_limit, .context = session};
	LIST_INSERT_HEAD(&clerk->sessions[session->number % BUCKETS], session, of_clerk);
	clerk->session_count++;
	STAILQ_INSERT_TAIL(&clerk->arrivals, session, arrival);
	session->arrives = true;
	call_clerk(clerk);
	return 0;
}

int clerk_refuse(struct clerk *clerk, int socket, const struct vdm_message_refused *message)
{
	struct refused_client *client;

	if (clerk->refused_count >= MOST_REFUSED)
		return -EAGAIN;
	client = malloc(sizeof *client);
	if (!client)
		return -ENOMEM;
	client->socket = socket;
	client->message = *message;
	STAILQ_INSERT_TAIL(&clerk->refused, client, entry);
	clerk->refused_count++;
	call_clerk(clerk);
	return 0;
}

/* All that follows is the clerk's own thread. */

static struct session *find(struct clerk *clerk, uint64_t number)
{
	struct session *session;

	house_lock(clerk->house);
	LIST_FOREACH(session, &clerk->sessions[number % BUCKETS], of_clerk)
		if (session->number == number)
			break;
	house_unlock(clerk->house);
	return session;
}

static bool is_stopping(struct clerk *clerk);

/* Wait until the porter may have room, or notes come. */
static void await_room(struct clerk *clerk)
{
	struct pollfd events[] = {{.fd = clerk->porter, .events = POLLOUT},
				  {.fd = clerk->notes.fd, .events = POLLIN}};
	eventfd_t count;

	if (poll(events, 2, -1) <= 0 || !events[1].revents)
		return;
	/* they are taken later */
	eventfd_read(clerk->notes.fd, &count);
	atomic_store_explicit(&clerk->arrived, true, memory_order_relaxed);
}

/*
 * Wait for the porter to have room, unless the daemon stops. A message without descriptors fails
 * only then, or if the porter has gone. Returns 0 or a negative errno.
 */
static int tell(struct clerk *clerk, const struct porter_message *message, const int *fds,
		unsigned count)
{
	for (;;) {
		const int result = send_message(clerk, message, fds, count);

		if (result != -EAGAIN && (!passing_may_retry(result) || count > 0))
			return result;
		if (is_stopping(clerk))
			return -ENOTCONN;
		if (result == -EAGAIN)
			await_room(clerk);
		else
			poll(NULL, 0, RETRY_MS);
	}
}

static int send_visitor(struct clerk *clerk, const struct session *session)
{
	const struct porter_message visitor = {.type = PORTER_VISITOR,
					       .value = session->peer.pid,
					       .session = session->number,
					       .welcome = session_welcome(session, FEATURES)};
	const int fds[PORTER_VISITOR_FDS] = {[PORTER_VISITOR_SOCKET] = session->socket,
					     [PORTER_VISITOR_LEASE] = session->clients_lease};

	passing_allow_fds(session->socket, true); /* unlike the listener's */
	return tell(clerk, &visitor, fds, PORTER_VISITOR_FDS);
}

static void end_session(struct clerk *clerk, struct session *session)
{
	const struct porter_message hang_up = {.type = PORTER_HANG_UP, .session = session->number};

	if (session->lease_fd < 0)
		return; /* it has been told */
	session_empty(session);
	tell(clerk, &hang_up, NULL, 0); /* or it has ended, and so have all sessions */
}

static void violated(struct clerk *clerk, struct session *session, const char *reason)
{
	if (session->lease_fd < 0)
		return; /* it has ended already */
	session_log_violation(session, reason);
	end_session(clerk, session);
}

/* A worker has found out that the client broke the protocol. */
static void on_violation(void *context)
{
	struct session *session = context;
	/* acquire; partner: session_note_violation(), release */
	const char *reason = atomic_load_explicit(&session->violation, memory_order_acquire);

	violated(session->clerk, session, reason);
}

/* The porter does that: there may be descriptors in them. */
static void receive_bells(struct ring *ring, bool last)
{
	const struct porter_message bell = {
		.type = PORTER_BELL,
		.session = ring->session->number,
		.value = last ? 0 : (int32_t)ring->id,
	};

	int result = tell(ring->session->clerk, &bell, &ring->doorbell_fd, 1);

	if (last)
		return;
	if (result) /* there may be too many descriptors on their way, unix(7) */
		end_session(ring->session->clerk, ring->session);
	else
		ring->receptions++;
}

static void on_over_limit(void *context)
{
	const struct session *session = context;

	log_limited(LOG_WARNING, &session->peer,
		    "refused: an operation that would have had the user exceed "
		    "in_flight_bytes_per_user, %llu",
		    (unsigned long long)session->limits.in_flight_bytes_per_user);
}

static void answer_request(struct clerk *clerk, struct session *session,
			   const struct porter_message *message, size_t size)
{
	struct passed passed = {clerk->born.directory, message->value};
	const struct request request = {
		.message = &message->message,
		.size = size,
		.to = VDM_TO_DAEMON,
		.passed = &passed,
	};
	struct porter_message answer = {.type = PORTER_ANSWER, .session = session->number};
	struct answer content = {.message = &answer.message};
	const char *reason = NULL;

	session->account = clerk->account;
	if (request_handle(session, &request, &content, &reason)) {
		if (reason)
			violated(clerk, session, reason);
		else
			end_session(clerk, session);
		return;
	}
	/* there may be too many descriptors on their way, unix(7) */
	if (tell(clerk, &answer, content.fds, content.fd_count))
		end_session(clerk, session);
	for (unsigned i = 0; i < content.fd_count; i++)
		close(content.fds[i]);
}

/* The memory of a crowd that has left. free(3) alone gives back the end of the heap. */
static void give_back_memory(struct clerk *clerk, unsigned sessions)
{
	if (sessions > clerk->most_sessions)
		clerk->most_sessions = sessions;
	if (clerk->most_sessions < MANY_SESSIONS || sessions > clerk->most_sessions / 4)
		return;
	clerk->most_sessions = sessions;
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}

static void forget(struct clerk *clerk, struct session *session)
{
	session_empty(session); /* a porter may say that it is gone when it pleases */
	notes_forget(&clerk->notes, &session->violated_note);
	notes_forget(&clerk->notes, &session->over_limit_note);
	house_lock(clerk->house);
	if (session->arrives)
		STAILQ_REMOVE(&clerk->arrivals, session, session, arrival);
	LIST_REMOVE(session, of_clerk);
	const unsigned left = --clerk->session_count;

	session_free(session);
	house_unlock(clerk->house);
	give_back_memory(clerk, left);
}

/* Hand the clients to the porter that it had no room for, or wait until it has. */
static void admit_arrivals(struct clerk *clerk)
{
	struct house *house = clerk->house;
	struct session *session;
	int result = 0;

	house_lock(house);
	while (result != -ENOTCONN && (session = STAILQ_FIRST(&clerk->arrivals))) {
		STAILQ_REMOVE_HEAD(&clerk->arrivals, arrival);
		session->arrives = false;
		house_unlock(house);
		result = send_visitor(clerk, session);
		if (result) /* there may be too many descriptors on their way, unix(7) */
			forget(clerk, session);
		house_lock(house);
	}
	house_unlock(house);
}

/*
 * Tell a client that it gets no session, and hang up. If it can have sent descriptors, the porter
 * does that, and receives them before.
 */
static void turn_away(struct clerk *clerk, const struct refused_client *client)
{
	const struct porter_message message = {.type = PORTER_REFUSE, .refused = client->message};

	if (passing_allows_fds(client->socket))
		tell(clerk, &message, &client->socket, 1);
	else
		vdm_packet_send(client->socket, &client->message.header, NULL, 0);
	close(client->socket);
}

static void turn_away_refused(struct clerk *clerk)
{
	struct refused_client *client;

	house_lock(clerk->house);
	while ((client = STAILQ_FIRST(&clerk->refused))) {
		STAILQ_REMOVE_HEAD(&clerk->refused, entry);
		clerk->refused_count--;
		house_unlock(clerk->house);
		turn_away(clerk, client);
		free(client);
		house_lock(clerk->house);
	}
	house_unlock(clerk->house);
}

/* The porter has emptied a doorbell. If that was full, the client may have rung in vain. */
static void look_at_ring(const struct session *session, uint32_t id)
{
	struct ring *ring = session_find_ring(session, id);

	if (!ring || ring->receptions == 0)
		return;
	ring->receptions--;
	engine_queue_look(ring->queue);
}

static void serve(struct clerk *clerk, struct session *session,
		  const struct porter_message *message, size_t size)
{
	session_is_handed_over(session);
	switch (message->type) {
	case PORTER_OPENED:
		session_name(session, message->command);
		break;
	case PORTER_REQUEST:
		if (session->lease_fd >= 0)
			answer_request(clerk, session, message, size);
		break;
	case PORTER_LEFT:
		if (visit_violation(message->value))
			violated(clerk, session, visit_violation(message->value));
		else
			end_session(clerk, session);
		break;
	case PORTER_RECEIVED:
		look_at_ring(session, (uint32_t)message->value);
		break;
	case PORTER_GONE:
		forget(clerk, session);
		break;
	}
}

/* Receive a message of the porter: without descriptors, which are closed here if it sends any. */
static int receive(const struct clerk *clerk, struct porter_message *message, size_t *size)
{
	struct passing passing = {.bytes = message, .size = sizeof *message};
	int result;

	memset(message, 0, sizeof *message);
	result = passing_receive(clerk->porter, &passing, MSG_DONTWAIT);
	*size = passing.size;
	return !result && passing.size == 0 ? -ENOTCONN : result;
}

/* Take one message. Returns 0, -EAGAIN if there is none, or another negative errno. */
static int listen_to_porter(struct clerk *clerk)
{
	struct porter_message message;
	struct session *session;
	size_t size;
	int result;

	if (clerk->born.directory < 0)
		return birth_receive(clerk->porter, &clerk->born);
	result = receive(clerk, &message, &size);
	if (result)
		return result;
	session = find(clerk, message.session);
	if (session && size >= offsetof(struct porter_message, message))
		serve(clerk, session, &message, size - offsetof(struct porter_message, message));
	return 0;
}

static void look_at_notes(struct clerk *clerk)
{
	atomic_store_explicit(&clerk->arrived, false, memory_order_relaxed);
	notes_take(&clerk->notes);
	admit_arrivals(clerk);
	turn_away_refused(clerk);
}

/* Wait for something to do. Returns false when nothing came for a while. */
static bool wait_for_work(struct clerk *clerk, bool idle)
{
	struct pollfd events[] = {{.fd = clerk->porter, .events = POLLIN},
				  {.fd = clerk->notes.fd, .events = POLLIN},
				  {.fd = clerk->filing.control, .events = POLLIN}};
	int ready = poll(events, 3, idle ? IDLE_MS : -1);

	if (ready > 0 && events[1].revents)
		look_at_notes(clerk);
	if (ready > 0 && events[2].revents)
		filing_listen(&clerk->filing);
	return ready != 0;
}

static bool is_idle(struct clerk *clerk)
{
	house_lock(clerk->house);
	bool idle = clerk->session_count == 0;

	house_unlock(clerk->house);
	return idle;
}

/* Get no more sessions. Returns whether it has none, or is to end with those that it has. */
static bool retire(struct clerk *clerk, bool at_once)
{
	house_lock(clerk->house);
	bool may = at_once || (clerk->session_count == 0 && clerk->refused_count == 0);

	if (may && clerk->user->clerk == clerk) {
		clerk->user->clerk = NULL;
		user_set_account(clerk->user, NULL);
	}
	house_unlock(clerk->house);
	return may;
}

static bool is_stopping(struct clerk *clerk)
{
	house_lock(clerk->house);
	bool stopping = clerk->house->stopping;

	house_unlock(clerk->house);
	return stopping;
}

static void work(struct clerk *clerk)
{
	for (unsigned messages = 0;; messages++) {
		/* what workers and the event loop leave waits for no porter that goes on talking */
		if (messages % MESSAGES_AT_ONCE == 0 ||
		    atomic_load_explicit(&clerk->arrived, memory_order_relaxed)) {
			if (is_stopping(clerk)) {
				retire(clerk, true);
				return;
			}
			look_at_notes(clerk);
		}

		int result = listen_to_porter(clerk);

		if (result == 0)
			continue;
		if (passing_may_retry(result)) {
			poll(NULL, 0, RETRY_MS);
			continue;
		}
		if (result != -EAGAIN || is_stopping(clerk)) {
			retire(clerk, true);
			return;
		}
		if (!TAILQ_EMPTY(&clerk->populating)) {
			look_at_notes(clerk);
			populate_step(&clerk->populating);
		} else if (!wait_for_work(clerk, is_idle(clerk)) && retire(clerk, false)) {
			return;
		}
	}
}

static void forget_all(struct clerk *clerk)
{
	for (unsigned i = 0; i < BUCKETS; i++) {
		struct session *session;

		/* no other thread adds or removes any more */
		while ((session = LIST_FIRST(&clerk->sessions[i])))
			forget(clerk, session);
	}
	turn_away_refused(clerk);
}

/* The process may hang in the kernel: a porter in closing what a client has passed, a filer in a
 * file system. */
static void await_end(struct clerk *clerk, int pidfd)
{
	struct pollfd events[] = {{.fd = pidfd, .events = POLLIN},
				  {.fd = clerk->notes.fd, .events = POLLIN}};

	while (!is_stopping(clerk) && (poll(events, 2, -1) < 0 || !events[0].revents))
		notes_take(&clerk->notes); /* there are none: it was clerks_stop() */
}

/*
 * The porter ends when it is hung up on, unless its user has taken it over: and could let one after
 * the other go on, until there are as many processes as there may be. So could one that hangs: its
 * clerk stays as long, and there are MOST_CLERKS at most. What a porter may have sent is closed
 * with the socket, which may take long.
 */
static void end_porter(struct clerk *clerk)
{
	house_lock(clerk->house);
	const int porter = clerk->porter;

	clerk->porter = -1; /* clerks_stop() looks at it */
	house_unlock(clerk->house);
	if (clerk->born.directory >= 0)
		syscall(SYS_pidfd_send_signal, clerk->born.pidfd, SIGKILL, NULL, 0);
	if (porter >= 0)
		close(porter);
	if (clerk->born.directory >= 0) {
		await_end(clerk, clerk->born.pidfd);
		close(clerk->born.directory);
		close(clerk->born.pidfd);
	}
}

static void await_filer_end(struct clerk *clerk)
{
	if (clerk->filing.born.pidfd >= 0)
		await_end(clerk, clerk->filing.born.pidfd);
	filing_forget(&clerk->filing);
}

static void clerk_free(struct clerk *clerk)
{
	if (clerk->porter >= 0)
		close(clerk->porter);
	notes_close(&clerk->notes);
	free(clerk);
}

/*
 * By this thread: adding a nested epoll(7), as the engine does, takes a lock of the whole system's.
 * Returns 0 or a negative errno.
 */
static int open_account(struct clerk *clerk)
{
	int result = engine_account_new(clerk->house->engine, &clerk->account);

	if (result)
		return result;
	house_lock(clerk->house);
	user_set_account(clerk->user, clerk->account);
	house_unlock(clerk->house);
	return 0;
}

static void *clerk_main(void *argument)
{
	struct clerk *clerk = argument;
	struct house *house = clerk->house;

	if (open_account(clerk))
		retire(clerk, true);
	else
		work(clerk);
	forget_all(clerk);
	if (clerk->account)
		engine_account_delete(clerk->account);
	filing_end(&clerk->filing);
	end_porter(clerk);
	await_filer_end(clerk);
	house_lock(house);
	LIST_REMOVE(clerk, entry); /* from now on, the house and its engine may go */
	clerk->user->clerks--;
	user_put(clerk->user);
	pthread_cond_signal(&house->clerk_gone);
	house_unlock(house);
	clerk_free(clerk);
	return NULL;
}

static int connect_porter(struct clerk *clerk)
{
	int ends[2], result;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	clerk->porter = ends[0];
	result = spawner_new_process(&clerk->house->spawner, SPAWNER_PORTER, ends[1]);
	close(ends[1]);
	return result;
}

int clerk_start(struct house *house, struct user *user, struct clerk **out)
{
	struct clerk *clerk;

	if (user->clerks >= MOST_CLERKS)
		return -EBUSY;
	clerk = calloc(1, sizeof *clerk);
	if (!clerk)
		return -ENOMEM;
	clerk->house = house;
	clerk->user = user;
	clerk->porter = clerk->born.directory = clerk->born.pidfd = -1;
	filing_init(&clerk->filing, house, user);
	STAILQ_INIT(&clerk->arrivals);
	STAILQ_INIT(&clerk->refused);
	TAILQ_INIT(&clerk->populating);

	int result = notes_open(&clerk->notes);

	if (!result)
		result = connect_porter(clerk);
	if (!result)
		result = detached_thread_start(clerk_main, clerk);
	if (result) {
		clerk_free(clerk);
		return result;
	}
	user_ref(user);
	user->clerk = clerk;
	user->clerks++;
	LIST_INSERT_HEAD(&house->clerks, clerk, entry);
	*out = clerk;
	return 0;
}

void clerks_stop(struct house *house)
{
	struct clerk *clerk;

	LIST_FOREACH(clerk, &house->clerks, entry)
		call_clerk(clerk);
}
