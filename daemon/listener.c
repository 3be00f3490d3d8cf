/* SPDX-License-Identifier: BSD-3-Clause */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

/* The owner and the group of the socket may connect; everybody else may not. */
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

static int take_passed(struct listener *listener, int count, char *error, size_t size)
{
	int fd = SD_LISTEN_FDS_START;

	if (count > 1)
		return complain(error, size, -EINVAL, "the service manager passed %d sockets: one is "
						      "expected", count);
	if (sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) <= 0)
		return complain(error, size, -EINVAL, "the service manager passed a descriptor that is no "
				"listening Unix socket of sequential packets: the socket unit has to say "
				"ListenSequentialPacket=");
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	listener->fd = fd;
	return 0;
}

/* Whether somebody listens at that address. */
static int is_alive(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int alive = fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ||
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

static int bind_or_replace(int fd, const struct sockaddr_un *address, char *error, size_t size)
{
	const char *path = address->sun_path;
	int result = bind_socket(fd, address);
	struct stat status;

	if (result == -EADDRINUSE) {
		if (lstat(path, &status) == 0 && !S_ISSOCK(status.st_mode))
			return complain(error, size, result, "%s exists and is not a socket: remove it, or "
							     "choose another path", path);
		if (is_alive(address))
			return complain(error, size, result, "a daemon is running at %s already: stop it, "
							     "or choose another path with --socket", path);
		/* left behind by one that was killed */
		unlink(path);
		result = bind_socket(fd, address);
	}
	if (result == -ENOENT)
		return complain(error, size, result, "cannot create %s: its directory does not exist; create "
						     "it, or choose another path with --socket", path);
	if (result)
		return complain(error, size, result, "cannot create %s: %s", path, strerror(-result));
	return 0;
}

int listener_open(const char *path, struct listener *listener, char *error, size_t size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat status;
	int count = sd_listen_fds(1);

	*listener = (struct listener){.fd = -1};
	if (count > 0)
		return take_passed(listener, count, error, size);
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);

	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return complain(error, size, -errno, "cannot open a socket: %s", strerror(errno));

	int result = bind_or_replace(fd, &address, error, size);

	if (!result && (listen(fd, SOMAXCONN) < 0 || lstat(path, &status) < 0))
		result = complain(error, size, -errno, "cannot listen at %s: %s", path, strerror(errno));
	if (result) {
		close(fd);
		return result;
	}
	listener->fd = fd;
	listener->path = path;
	listener->device = status.st_dev;
	listener->inode = status.st_ino;
	return 0;
}

void listener_close(struct listener *listener)
{
	struct stat status;

	sd_event_source_disable_unref(listener->on_connection);
	sd_event_source_disable_unref(listener->on_retry);
	if (listener->path && lstat(listener->path, &status) == 0 &&
	    status.st_dev == listener->device && status.st_ino == listener->inode)
		unlink(listener->path);
	if (listener->fd >= 0)
		close(listener->fd);
	*listener = (struct listener){.fd = -1};
}
