/* SPDX-License-Identifier: BSD-3-Clause */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "lock_file.h"
#include "proto/passing.h"
#include "refusal.h"
#include "spawner.h"

/*
 * Connections that wait to be accepted. Further ones wait in connect(2), in turns: a user that
 * connects all the time takes fewer places before others.
 */
#define BACKLOG 128

/* How soon to try again when the spawner is busy. */
#define RETRY_MS 1

/* The owner and the group of the socket may connect, and no other user. */
#define SOCKET_UMASK 0117

static int complain(char *text, size_t size, int error, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
static int complain(char *text, size_t size, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, size, format, arguments);
	va_end(arguments);
	return error;
}

static int complain_running(const char *path, char *text, size_t size)
{
	return complain(text, size, -EADDRINUSE,
			"a daemon is running at %s already: stop it, or choose another path "
			"with --socket",
			path);
}

static int take_passed(struct listener *listener, int count, char *error, size_t size)
{
	int fd = SD_LISTEN_FDS_START;

	if (count > 1)
		return complain(error, size, -EINVAL,
				"the service manager passed %d sockets: one is "
				"expected",
				count);
	if (sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) <= 0)
		return complain(
			error, size, -EINVAL,
			"the service manager passed a descriptor that is not a "
			"listening Unix socket of type SOCK_SEQPACKET: the socket unit has to say "
			"ListenSequentialPacket=");
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	/* so that closing a connection that is not accepted, or refused, does not take long */
	passing_allow_fds(fd, false);
	listener->fd = fd;
	return 0;
}

/* Whether a daemon listens at that address. */
static int is_alive(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int alive =
		fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ||
			    errno != ECONNREFUSED);

	if (fd >= 0)
		close(fd);
	return alive;
}

static int bind_socket(int fd, const struct sockaddr_un *address)
{
	mode_t before = umask(SOCKET_UMASK);
	int result = bind(fd, (const struct sockaddr *)address, sizeof *address) < 0 ? -errno : 0;

	umask(before);
	return result;
}

/* Returns the lock's descriptor, or a negative errno with a sentence. */
static int lock_path(const char *path, char *error, size_t size)
{
	char what[LOCK_FILE_ERROR_TEXT];
	int fd = lock_file_take(path, what);

	if (fd == -ENOENT)
		return complain(
			error, size, fd,
			"cannot create %s: its directory does not exist; create it, or choose "
			"another path with --socket",
			path);
	if (fd == -EADDRINUSE)
		return complain_running(path, error, size);
	if (fd < 0)
		return complain(error, size, fd, "cannot create %s: %s", path, what);
	return fd;
}

static int bind_or_replace(int fd, const struct sockaddr_un *address, char *error, size_t size)
{
	const char *path = address->sun_path;
	int result = bind_socket(fd, address);
	struct stat status;

	if (result == -EADDRINUSE) {
		if (lstat(path, &status) == 0 && !S_ISSOCK(status.st_mode))
			return complain(error, size, result,
					"%s exists and is not a socket: remove it, or "
					"choose another path",
					path);
		if (is_alive(address))
			return complain_running(path, error, size);
		/* a daemon that was killed has left it */
		unlink(path);
		result = bind_socket(fd, address);
	}
	if (result)
		return complain(error, size, result, "cannot create %s: %s", path,
				strerror(-result));
	return 0;
}

int listener_open(const char *path, struct listener *listener, char *error, size_t size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat status = {0};
	int count = sd_listen_fds(1);

	*listener = (struct listener){.fd = -1, .lock_fd = -1};
	if (count > 0)
		return take_passed(listener, count, error, size);
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);

	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return complain(error, size, -errno, "cannot open a socket: %s", strerror(errno));

	passing_allow_fds(fd, false);

	int lock_fd = lock_path(path, error, size);
	int result = lock_fd < 0 ? lock_fd : bind_or_replace(fd, &address, error, size);

	if (!result && (listen(fd, BACKLOG) < 0 || lstat(path, &status) < 0))
		result = complain(error, size, -errno, "cannot listen at %s: %s", path,
				  strerror(errno));
	if (result) {
		close(fd);
		if (lock_fd >= 0)
			lock_file_release(path, lock_fd);
		return result;
	}
	listener->fd = fd;
	listener->lock_fd = lock_fd;
	listener->path = path;
	listener->device = status.st_dev;
	listener->inode = status.st_ino;
	return 0;
}

/* Have the client told, and hung up on: see spawner.h. */
static void refuse_client(struct spawner *spawner, int socket, const char *text)
{
	struct vdm_message_refused refused = {
		.header = {VDM_MESSAGE_REFUSED, sizeof refused},
		.request = VDM_MESSAGE_HELLO,
		.error = -ECONNREFUSED,
	};

	refuse(refused.text, 0, "%s", text);
	while (spawner_refuse(spawner, socket, &refused) == -EAGAIN)
		poll(NULL, 0, RETRY_MS);
	while (spawner_flush(spawner) == -EAGAIN)
		poll(NULL, 0, RETRY_MS);
}

void listener_turn_away(unsigned seconds, const char *text)
{
	static const spawner_mains mains = {NULL}; /* it is asked for none */
	const uint64_t end = monotonic_ns() + seconds * 1000000000ull;
	struct listener listener;
	struct spawner spawner;
	char error[256];

	if (sd_listen_fds(0) <= 0 || spawner_start(&spawner, &mains) < 0)
		return;
	if (listener_open("", &listener, error, sizeof error) < 0) {
		spawner_stop(&spawner);
		return;
	}
	for (uint64_t now; (now = monotonic_ns()) < end;) {
		struct pollfd watch = {.fd = listener.fd, .events = POLLIN};

		poll(&watch, 1, (int)((end - now) / 1000000) + 1);

		int fd = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0)
			refuse_client(&spawner, fd, text);
	}
	listener_close(&listener);
	spawner_stop(&spawner);
}

void listener_close(struct listener *listener)
{
	struct stat status;

	if (listener->path && lstat(listener->path, &status) == 0 &&
	    status.st_dev == listener->device && status.st_ino == listener->inode)
		unlink(listener->path);
	if (listener->fd >= 0)
		close(listener->fd);
	if (listener->lock_fd >= 0)
		lock_file_release(listener->path, listener->lock_fd);
	*listener = (struct listener){.fd = -1, .lock_fd = -1};
}
