/* SPDX-License-Identifier: BSD-3-Clause */
/* Files that are slow to close, whose last descriptor is in a message to the daemon. */
#include "attacks.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "delivery.h"
#include "slow_files.h"
#include "wire.h"

#define LARGE_BYTES ((size_t)1 << 30)

/* So many threads of a process: one may lose the race for the last descriptor, and lingers. */
#define THREADS 8

static struct supply {
	int (*make)(void);
	unsigned at_once; /* descriptors of a message */
	unsigned pause_ms;
} supply;

/* Until the daemon takes them, they are kept: closing the last ones would be slow here. */
static void deliver_all(unsigned way, const int *fds, unsigned count)
{
	while (deliver(way % DELIVERY_COUNT, fds, count, false) < 0)
		attack_pause_ms(10);
	attack_round();
}

/* Make files, pass each by every way in turn, and keep none. */
static void *have_closed(void *argument)
{
	int fds[WIRE_MOST_FDS];

	(void)argument;
	for (unsigned n = 0;; n++) {
		unsigned count = 0;

		for (unsigned i = 0; i < supply.at_once; i++)
			if ((fds[count] = supply.make()) >= 0)
				count++;
		if (count > 0)
			deliver_all(n, fds, count);
		attack_pause_ms(supply.pause_ms);
	}
	return NULL;
}

static void supply_and_go(int (*make)(void), unsigned at_once, unsigned pause_ms, unsigned threads)
{
	supply = (struct supply){make, at_once, pause_ms};
	for (unsigned i = 1; i < threads; i++)
		attack_thread(have_closed, NULL);
	attack_ready();
	have_closed(NULL);
}

static void need(int fd, const char *what)
{
	if (fd < 0)
		attack_skip("%s cannot be made", what);
	close(fd);
}

void close_lingering(unsigned index)
{
	(void)index;
	supply_and_go(lingering_socket, 1, 10, THREADS);
}

static int make_large(void)
{
	return large_memfd(LARGE_BYTES);
}

void close_memfd(unsigned index)
{
	(void)index;
	supply_and_go(make_large, 1, 1, 1);
}

void close_inotify(unsigned index)
{
	(void)index;
	need(watching_inotify(), "an inotify instance");
	supply_and_go(watching_inotify, 16, 1, 1);
}

void close_epoll(unsigned index)
{
	(void)index;
	supply_and_go(crowded_epoll, 16, 1, 1);
}

void close_locked(unsigned index)
{
	(void)index;
	supply_and_go(locked_memfd, 1, 1, 1);
}

void close_mounts(unsigned index)
{
	(void)index;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		attack_skip("there are no user namespaces for ordinary users here");
	need(detached_mount(), "a detached mount");
	supply_and_go(detached_mount, 16, 1, 1);
}

/*
 * The same by connections that are refused. The first descriptor keeps the user's porter, so that
 * the sessions of those that follow do not end, and it takes no more clients.
 */
void close_refused(unsigned index)
{
	enum { CONNECTIONS = 1000 };
	int fd = lingering_socket();

	(void)index;
	need(lingering_socket(), "a lingering socket");
	attack_ready();
	while (deliver(DELIVERY_MALFORMED, &fd, 1, false) < 0)
		attack_pause_ms(10);
	for (unsigned i = 0; i < CONNECTIONS; i++)
		close(wire_connect());
	for (;;) {
		fd = lingering_socket();
		while (deliver(DELIVERY_GREETING, &fd, 1, false) < 0)
			attack_round();
		attack_round();
	}
}

static int make_nested(void)
{
	return nested_socket(lingering_socket());
}

void close_nested(unsigned index)
{
	(void)index;
	need(nested_socket(watching_inotify()), "a socket in sockets");
	supply_and_go(make_nested, 4, 10, THREADS);
}

static void fill_with_stdin(int fds[WIRE_MOST_FDS])
{
	for (unsigned i = 0; i < WIRE_MOST_FDS; i++)
		fds[i] = STDIN_FILENO;
}

/* Descriptors that do not fit into the daemon's table any more, the slow one last. */
static void *have_dropped(void *argument)
{
	int fds[WIRE_MOST_FDS];

	(void)argument;
	fill_with_stdin(fds);
	for (unsigned n = 0;; n++) {
		int fd = lingering_socket();

		fds[WIRE_MOST_FDS - 1] = fd;
		while (fd >= 0 && deliver(n % DELIVERY_COUNT, fds, WIRE_MOST_FDS, true) < 0)
			attack_pause_ms(10);
		close(fd);
		attack_round();
		attack_pause_ms(10);
	}
	return NULL;
}

void close_surplus(unsigned index)
{
	(void)index;
	for (unsigned i = 1; i < THREADS; i++)
		attack_thread(have_dropped, NULL);
	attack_ready();
	have_dropped(NULL);
}

/* As many descriptors as fast as they can be sent. */
void close_many(unsigned index)
{
	int fds[WIRE_MOST_FDS];

	(void)index;
	fill_with_stdin(fds);
	attack_ready();
	for (unsigned n = 0;; n++)
		if (deliver(n % DELIVERY_COUNT, fds, WIRE_MOST_FDS, true) == 0)
			attack_round();
}

/*
 * Thousands of open files of one inode, each with an entry in a list of the inode that is searched
 * when any of them is closed. This process keeps most, and passes the others on.
 */
static void crowd_the_inode(int (*make)(void), const char *what)
{
	enum { FILES = 15000 };
	unsigned count = attack_scaled(FILES);

	need(make(), what);
	for (unsigned i = 0; i < count; i++)
		make();
	supply_and_go(make, WIRE_MOST_FDS, 1, 1);
}

void close_flocks(unsigned index)
{
	(void)index;
	crowd_the_inode(flocked_file, "a flock(2)");
}

void close_dnotify(unsigned index)
{
	(void)index;
	crowd_the_inode(notifying_directory, "a directory with F_NOTIFY");
}
