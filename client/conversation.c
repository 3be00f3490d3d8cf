/* SPDX-License-Identifier: BSD-3-Clause */
#include "conversation.h"

#include <errno.h>
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

#include "error.h"

#define DEFAULT_SOCKET "/run/vdmd/vdmd.sock"

const char *conversation_path(const char *given)
{
	if (given)
		return given;

	const char *set = secure_getenv("VDM_SOCKET");

	return set && *set ? set : DEFAULT_SOCKET;
}

int64_t deadline_in(unsigned ms)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + ms;
}

int ms_until(int64_t deadline)
{
	int64_t left = deadline - deadline_in(0);

	return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

/* Wait until the socket is ready. Signals do not prolong it. Returns 0, also after a hang-up, or
 * -ETIMEDOUT. */
static int await_ready(int socket, short events, int64_t deadline)
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
	/* zero would mean no timeout */
	const struct timeval timeout = {.tv_sec = left / 1000,
					.tv_usec = left % 1000 * 1000 + (left == 0)};

	return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
}

static int open_socket(const char *path, int64_t deadline)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof address.sun_path)
		return fail(-ENAMETOOLONG, "socket path %s has %zu bytes: at most %zu fit", path,
			    strlen(path), sizeof address.sun_path - 1);
	strcpy(address.sun_path, path);

	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return fail(-errno, "cannot open a socket: %s", strerror(errno));

	int result;

	/* while the listener's queue is full, connect(2) waits as send(2) does: unix(7),
	 * socket(7) */
	do {
		set_timeout(fd, deadline);
		result = connect(fd, (struct sockaddr *)&address, sizeof address);
	} while (result < 0 && errno == EINTR);
	if (result == 0)
		return fd;

	int error = errno;

	close(fd);
	if (error == EACCES)
		return fail(-error,
			    "no permission to connect to %s: is this user in the group that "
			    "owns it (usually vdm)?",
			    path);
	return fail(-error, "cannot connect to vdmd at %s: %s%s", path, strerror(error),
		    error != ENOENT && error != ECONNREFUSED
			    ? ""
			    : ": start it (systemctl start vdmd.socket), or one of "
			      "your own (vdmd --socket PATH)");
}

int conversation_send(int socket, const struct vdm_message_header *request, const int *fds,
		      unsigned fd_count, int64_t deadline)
{
	int result;

	while ((result = vdm_packet_send(socket, request, fds, fd_count)) == -EAGAIN) {
		result = await_ready(socket, POLLOUT, deadline);
		if (result)
			break;
	}
	if (result && result != -ENOTCONN && result != -ETIMEDOUT)
		return fail(result, "cannot send vdmd a request: %s", strerror(-result));
	return result;
}

/* send(2), recv(2), unix(7) */
bool conversation_may_retry(int error)
{
	return error == -ENOBUFS || error == -ENOMEM || error == -ETOOMANYREFS;
}

int conversation_receive(int socket, struct vdm_packet *packet, int64_t deadline)
{
	const int64_t retry_until = deadline ? deadline_in(RETRY_FOR_MS) : 0;
	int result;

	for (;;) {
		result = vdm_packet_receive(socket, packet, 0);
		if (conversation_may_retry(result) && ms_until(retry_until) > 0)
			poll(NULL, 0, RETRY_MS);
		else if (result != -EAGAIN || (result = await_ready(socket, POLLIN, deadline)))
			break;
	}
	if (result)
		vdm_packet_close(packet);
	return result;
}

int conversation_understand(struct vdm_packet *answer, enum vdm_message_type expected,
			    unsigned fd_count)
{
	const struct vdm_message_refused *refused = &answer->message.refused;

	if (answer->message.header.type == VDM_MESSAGE_REFUSED && answer->size == sizeof *refused &&
	    refused->error < 0 && answer->fd_count == 0)
		return fail(refused->error, "%.*s", VDM_REFUSAL_TEXT, refused->text);
	if (answer->message.header.type != expected || answer->fd_count != fd_count) {
		vdm_packet_close(answer);
		return fail(-EPROTO, "vdmd's answer is not one that this library (%s) understands",
			    VDM_VERSION);
	}
	return 0;
}

int conversation_explain(int result, unsigned timeout_ms)
{
	if (result == -EMFILE)
		return fail(-EMFILE,
			    "this process has too many open files to receive what vdmd sends");
	if (result == -ENOTCONN)
		return fail(-ENOTCONN, "vdmd has ended the connection");
	if (result == -ETIMEDOUT)
		return fail(-ETIMEDOUT, "vdmd has not answered for %u ms", timeout_ms);
	return fail(-EPROTO, "cannot talk to vdmd: %s", strerror(-result));
}

int conversation_ask(int socket, unsigned timeout_ms, const struct vdm_message_header *request,
		     const int *fds, unsigned sent_fds, enum vdm_message_type expected,
		     unsigned fd_count, unsigned *owed, struct vdm_packet *answer)
{
	int64_t deadline = deadline_in(timeout_ms);
	int result = conversation_send(socket, request, fds, sent_fds, deadline);

	if (result == -ETIMEDOUT)
		return conversation_explain(result, timeout_ms);
	if (result && result != -ENOTCONN) /* a peer that has hung up may have said why before */
		return result;
	while ((result = conversation_receive(socket, answer, deadline)) == 0 && *owed > 0) {
		vdm_packet_close(answer);
		--*owed;
	}
	return result ? conversation_explain(result, timeout_ms)
		      : conversation_understand(answer, expected, fd_count);
}

int conversation_ask_stranger(int socket, unsigned timeout_ms,
			      const struct vdm_message_header *request,
			      enum vdm_message_type expected, unsigned fd_count,
			      struct vdm_packet *answer)
{
	unsigned owed = 0;
	int result = conversation_ask(socket, timeout_ms, request, NULL, 0, expected, fd_count,
				      &owed, answer);

	return result == -EPROTO ? -ENOTCONN : result;
}

int conversation_greet_on(int socket, uint64_t features, unsigned timeout_ms, int *lease,
			  struct vdm_message_welcome *welcome)
{
	struct vdm_message_hello hello = {
		.header = {VDM_MESSAGE_HELLO, sizeof hello},
		.magic = VDM_PROTOCOL_MAGIC,
		.version = VDM_PROTOCOL_VERSION,
		.features = features,
	};
	struct vdm_packet answer;

	snprintf(hello.command, sizeof hello.command, "%s", program_invocation_short_name);

	int result = conversation_ask_stranger(socket, timeout_ms, &hello.header,
					       VDM_MESSAGE_WELCOME, VDM_WELCOME_FD_COUNT, &answer);

	if (result == 0) {
		*welcome = answer.message.welcome;
		*lease = vdm_packet_take(&answer, VDM_WELCOME_FD_LEASE);
	}
	return result;
}

int conversation_greet(const char *path, uint64_t features, unsigned timeout_ms, int *socket,
		       int *lease, struct vdm_message_welcome *welcome)
{
	*socket = open_socket(path, deadline_in(timeout_ms));
	if (*socket < 0)
		return *socket;
	return conversation_greet_on(*socket, features, timeout_ms, lease, welcome);
}

int conversation_open(const char *path, unsigned timeout_ms, struct vdm_message_welcome *welcome)
{
	int socket, lease;
	int result = conversation_greet(path, 0, timeout_ms, &socket, &lease, welcome);

	if (!result)
		close(lease); /* nothing of ours will be in use */
	else if (socket >= 0)
		close(socket);
	return result ? result : socket;
}
