/* SPDX-License-Identifier: BSD-3-Clause */
#include "slow_files.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attack.h"
#include "record_locks.h"
#include "wire.h"

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

#define LINGER_S  60
#define NESTING   4 /* as deep as Linux allows, MAX_RECURSION_LEVEL of its net/unix */
#define EPOLLED   4000
#define OFD_LOCKS 100000

/* A listening socket on the loopback interface, whose connections are not read. */
static int listener(struct sockaddr_in *address)
{
	static int fd = -1;
	socklen_t size = sizeof *address;

	if (fd < 0) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		*address = (struct sockaddr_in){.sin_family = AF_INET,
						.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		if (fd < 0 || bind(fd, (struct sockaddr *)address, size) < 0 ||
		    listen(fd, 4096) < 0)
			return -1;
	}
	return getsockname(fd, (struct sockaddr *)address, &size) == 0 ? fd : -1;
}

int lingering_socket(void)
{
	static const char bytes[65536];
	const struct linger linger = {.l_onoff = 1, .l_linger = LINGER_S};
	struct sockaddr_in address;
	int from = listener(&address), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (from < 0 || fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) < 0) {
		close(fd);
		return -1;
	}
	/* The connection stays in the listener's queue, unread. */
	while (send(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
		;
	return fd;
}

int large_memfd(size_t bytes)
{
	int fd = memfd_create("attack", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || fallocate(fd, 0, 0, (off_t)bytes) == 0)
		return fd;
	close(fd);
	return -1;
}

int watching_inotify(void)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	if (fd >= 0)
		inotify_add_watch(fd, attack_directory(), IN_ALL_EVENTS);
	return fd;
}

int crowded_epoll(void)
{
	static int watched[EPOLLED];
	int fd = epoll_create1(EPOLL_CLOEXEC);

	if (!watched[0]) {
		watched[0] = eventfd(0, EFD_CLOEXEC);
		for (unsigned i = 1; i < EPOLLED; i++)
			watched[i] = fcntl(watched[0], F_DUPFD_CLOEXEC, 100);
	}
	for (unsigned i = 0; fd >= 0 && i < EPOLLED; i++)
		epoll_ctl(fd, EPOLL_CTL_ADD, watched[i], &(struct epoll_event){.events = EPOLLIN});
	return fd;
}

int locked_memfd(void)
{
	int fd = large_memfd(4096);

	if (fd >= 0)
		record_locks_take(fd, F_OFD_SETLK, F_WRLCK, OFD_LOCKS);
	return fd;
}

int flocked_file(void)
{
	static char path[32];

	if (!path[0])
		snprintf(path, sizeof path, "/proc/self/fd/%d", large_memfd(4096));

	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd >= 0 && flock(fd, LOCK_SH) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int notifying_directory(void)
{
	int fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	signal(SIGIO, SIG_IGN);
	if (fd >= 0 && fcntl(fd, F_NOTIFY, DN_ACCESS | DN_MULTISHOT) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int detached_mount(void)
{
	return (int)syscall(SYS_open_tree, AT_FDCWD, "/",
			    OPEN_TREE_CLONE | O_CLOEXEC | AT_RECURSIVE);
}

int nested_socket(int fd)
{
	for (unsigned i = 0; i < NESTING && fd >= 0; i++) {
		int ends[2];

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
			close(fd);
			return -1;
		}
		wire_send(ends[0], "", 1, &fd, 1);
		close(ends[0]);
		close(fd);
		fd = ends[1];
	}
	return fd;
}
