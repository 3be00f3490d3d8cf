/* SPDX-License-Identifier: BSD-3-Clause */
#include "filing.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "filer_message.h"
#include "house.h"
#include "log.h"
#include "memfd.h"
#include "op/files.h"
#include "proto/passing.h"
#include "refusal.h"
#include "session.h"
#include "tally.h"

/* Messages of the filer that are handled before the clerk's other work has its turn. */
#define MESSAGES_AT_ONCE 16

/*
 * Clients that a filer has not taken yet. The descriptors in these messages count as the daemon's,
 * for all users together: unix(7), ETOOMANYREFS. A message counts as so many bytes of SO_SNDBUF,
 * which Linux doubles, socket(7).
 */
#define MOST_QUEUED  32
#define QUEUED_BYTES 768

/* How long a request waits for the spawner, and how soon it sees that the daemon stops. */
#define BIRTH_NS      1000000000
#define BIRTH_STEP_MS 20

/* How long a request waits for a filer to end that has been killed. */
#define END_MS 100

static void close_if_open(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void filing_init(struct filing *filing, struct house *house, struct user *user)
{
	*filing = (struct filing){.house = house, .user = user, .control = -1, .born = {-1, -1}};
}

static void note_how(struct filing *filing, int32_t without_uring)
{
	struct house *house = filing->house;
	bool first;

	if (without_uring > 0 || without_uring < -4095)
		return; /* no errno */
	house_lock(house);
	first = house->io_uring == 0;
	if (first)
		house->io_uring = without_uring ? without_uring : 1;
	house_unlock(house);
	if (first && without_uring)
		log_message(LOG_NOTICE, NULL,
			    "io_uring cannot be used for files (%s): threads are used instead",
			    strerror(-without_uring));
}

/* Without characters that could forge a line of the log. */
static void log_violation(const struct filing *filing, struct filer_message *message)
{
	const struct log_peer peer = {
		.limit = &filing->user->log_limit, .pid = message->value, .uid = filing->user->uid};

	message->reason[sizeof message->reason - 1] = '\0';
	for (char *c = message->reason; *c; c++)
		if (!isprint((unsigned char)*c))
			*c = '?';
	log_limited(LOG_WARNING, &peer, "its filer hung up on it for breaking the protocol: %s",
		    message->reason);
	house_lock(filing->house);
	filing->house->violated++;
	house_unlock(filing->house);
}

/* Take one message. Returns 0, -EAGAIN, or what ends the filer. */
static int listen_once(struct filing *filing)
{
	struct filer_message message = {0};
	struct passing passing = {.bytes = &message, .size = sizeof message};
	int result;

	if (filing->born.pidfd < 0)
		return birth_receive(filing->control, &filing->born);
	result = passing_receive(filing->control, &passing, MSG_DONTWAIT);
	if (result)
		return passing_may_retry(result) ? -EAGAIN : result;
	if (passing.size != sizeof message)
		return -ENOTCONN;
	if (message.type == FILER_READY)
		note_how(filing, message.value);
	else if (message.type == FILER_VIOLATED)
		log_violation(filing, &message);
	return 0;
}

void filing_listen(struct filing *filing)
{
	int result = 0;

	for (unsigned i = 0; i < MESSAGES_AT_ONCE && !result && filing->control >= 0; i++)
		result = listen_once(filing);
	if (result && result != -EAGAIN)
		filing_end(filing);
}

static void release_counters(struct filing *filing)
{
	struct house *house = filing->house;

	if (!filing->counters)
		return;
	house_lock(house);
	LIST_REMOVE(filing, entry);
	tally_add_files(&house->files_ended, filing->counters);
	house_unlock(house);
	munmap(filing->counters, sizeof *filing->counters);
	filing->counters = NULL;
}

void filing_end(struct filing *filing)
{
	if (filing->control < 0)
		return;
	if (filing->born.pidfd >= 0)
		syscall(SYS_pidfd_send_signal, filing->born.pidfd, SIGKILL, NULL, 0);
	close_if_open(&filing->control);
	release_counters(filing);
}

void filing_forget(struct filing *filing)
{
	close_if_open(&filing->born.directory);
	close_if_open(&filing->born.pidfd);
}

/* One that has been killed ends soon, unless the kernel keeps it. */
static bool has_ended(const struct filing *filing)
{
	struct pollfd process = {.fd = filing->born.pidfd, .events = POLLIN};

	return filing->born.pidfd < 0 || poll(&process, 1, END_MS) > 0;
}

/* Make what the filer counts in. Returns its descriptor or a negative errno. */
static int make_counters(struct filing *filing)
{
	void *counters;
	int fd = memfd_make("vdm-filer", sizeof *filing->counters, &counters);

	if (fd < 0)
		return fd;
	filing->counters = counters;
	house_lock(filing->house);
	LIST_INSERT_HEAD(&filing->house->filings, filing, entry);
	house_unlock(filing->house);
	return fd;
}

static int send_begin(struct filing *filing, uint64_t spin_us)
{
	const struct filer_message begin = {.type = FILER_BEGIN, .value = (int32_t)spin_us};
	int counters = make_counters(filing), result;

	if (counters < 0)
		return counters;
	result = passing_send(filing->control, &begin, sizeof begin, &counters, FILER_BEGIN_FDS,
			      MSG_DONTWAIT);
	close(counters);
	return result;
}

/* A filer costs as much as a connection for which a porter is started. */
static int start(struct filing *filing, char text[VDM_REFUSAL_TEXT])
{
	struct house *house = filing->house;
	int ends[2], result;

	house_lock(house);
	const uint64_t spin_us = house->config->spin_us;

	result = user_handshake(filing->user, text);
	house_unlock(house);
	if (result)
		return result;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return refuse(text, -errno, "vdmd is out of descriptors or memory");
	filing->control = ends[0];
	setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &(int){MOST_QUEUED * QUEUED_BYTES / 2},
		   sizeof(int));
	result = send_begin(filing, spin_us);
	if (!result)
		result = spawner_new_process(&house->spawner, SPAWNER_FILER, ends[1]);
	close(ends[1]);
	if (!result)
		return 0;
	filing_end(filing);
	return refuse(text, result, "vdmd cannot start a process for operations on files: %s",
		      strerror(-result));
}

static bool is_stopping(struct house *house)
{
	house_lock(house);
	bool stopping = house->stopping;

	house_unlock(house);
	return stopping;
}

/*
 * Nothing of a client's is sent before: the spawner would close it if it cannot fork, and closing
 * it takes as long as the client likes.
 */
static int await_birth(struct filing *filing, char text[VDM_REFUSAL_TEXT])
{
	const uint64_t begin = monotonic_ns();

	while (filing->control >= 0 && filing->born.pidfd < 0) {
		struct pollfd event = {.fd = filing->control, .events = POLLIN};

		if (is_stopping(filing->house) || monotonic_ns() - begin > BIRTH_NS)
			return refuse(text, -EAGAIN,
				      "the process for operations on files has not started: try "
				      "again later");
		poll(&event, 1, BIRTH_STEP_MS);
		filing_listen(filing);
	}
	if (filing->control >= 0)
		return 0;
	return refuse(text, -ECHILD,
		      "vdmd cannot start a process for operations on files: there are as many "
		      "processes as there may be (TasksMax=), or no memory");
}

/* Have a filer that lives, as far as is known. */
static int have_filer(struct filing *filing, char text[VDM_REFUSAL_TEXT])
{
	int result = 0;

	filing_listen(filing);
	if (filing->control < 0 && !has_ended(filing))
		return refuse(text, -EBUSY,
			      "the process that carried out operations on files has not ended: a "
			      "file system holds it up");
	if (filing->control < 0) {
		filing_forget(filing);
		result = start(filing, text);
	}
	return result ? result : await_birth(filing, text);
}

/* Two socket pairs: the client's connection, and what tells the filer that the session ends. */
struct connection {
	int client[2], end[2];
};

static void connection_close(struct connection *connection)
{
	for (unsigned i = 0; i < 2; i++) {
		close_if_open(&connection->client[i]);
		close_if_open(&connection->end[i]);
	}
}

static int connection_open(struct connection *connection)
{
	const int type = SOCK_SEQPACKET | SOCK_CLOEXEC;

	*connection = (struct connection){{-1, -1}, {-1, -1}};
	if (socketpair(AF_UNIX, type, 0, connection->client) < 0 ||
	    socketpair(AF_UNIX, type, 0, connection->end) < 0) {
		int error = errno;

		connection_close(connection);
		return -error;
	}
	/* the filer could send descriptors to our end, which would be closed with it */
	shutdown(connection->end[0], SHUT_RD);
	return 0;
}

static int send_client(const struct filing *filing, const struct session *session,
		       const struct connection *connection)
{
	const int fds[FILER_CLIENT_FDS] = {[FILER_CLIENT_SOCKET] = connection->client[1],
					   [FILER_CLIENT_END] = connection->end[1]};
	struct filer_message message = {
		.type = FILER_CLIENT,
		.value = session->peer.pid,
		.session = session->number,
		.client.offload_threshold = session->offload_threshold,
	};

	house_lock(filing->house);
	message.client.user = filing->user->settings;
	house_unlock(filing->house);
	return passing_send(filing->control, &message, sizeof message, fds, FILER_CLIENT_FDS,
			    MSG_DONTWAIT);
}

/* Send the filer a client. One that turns out to have ended is replaced. */
static int give_client(struct filing *filing, const struct session *session,
		       const struct connection *connection, char text[VDM_REFUSAL_TEXT])
{
	int result = send_client(filing, session, connection);

	if (result == -ENOTCONN) {
		filing_end(filing);
		result = have_filer(filing, text);
		if (result)
			return result;
		result = send_client(filing, session, connection);
	}
	if (result == -EAGAIN)
		refuse(text, 0,
		       "the process that carries out operations on files does not take more "
		       "clients: a file system holds it up");
	else if (result)
		refuse(text, 0, "vdmd cannot connect the client for operations on files: %s",
		       strerror(-result));
	return result;
}

int filing_open(struct filing *filing, struct session *session, int *socket,
		char text[VDM_REFUSAL_TEXT])
{
	struct connection connection;
	int result = have_filer(filing, text);

	if (result)
		return result;
	result = connection_open(&connection);
	if (result)
		return refuse(text, result, "vdmd is out of descriptors or memory");
	result = give_client(filing, session, &connection, text);
	if (!result) {
		close_if_open(&session->files_end);
		session->files_end = connection.end[0];
		*socket = connection.client[0];
		connection.end[0] = connection.client[0] = -1;
	}
	connection_close(&connection);
	return result;
}
