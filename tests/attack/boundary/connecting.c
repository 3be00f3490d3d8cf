/* SPDX-License-Identifier: BSD-3-Clause */
/* Connecting: again and again, with descriptors, without a greeting, up to every limit. */
#include "attacks.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <libvdm.h>

#include "integration/check.h"
#include "wire.h"

/* More than a user may have, so that its own limit is reached. */
#define SILENT 1100

void connect_loop(unsigned index)
{
	(void)index;
	attack_ready();
	for (;;) {
		int socket = wire_connect();

		if (socket < 0)
			continue;
		close(socket);
		attack_round();
	}
}

void connect_greet(unsigned index)
{
	(void)index;
	attack_ready();
	for (;;) {
		int socket = wire_session();

		if (socket < 0)
			continue;
		close(socket);
		attack_round();
	}
}

void connect_descriptors(unsigned index)
{
	int fds[WIRE_MOST_FDS];

	(void)index;
	for (unsigned i = 0; i < WIRE_MOST_FDS; i++)
		fds[i] = STDIN_FILENO;
	attack_ready();
	for (;;) {
		int socket = wire_connect();

		if (socket < 0)
			continue;
		wire_send_hello(socket, fds, WIRE_MOST_FDS);
		close(socket);
		attack_round();
	}
}

void connect_silent(unsigned index)
{
	static int sockets[SILENT];

	(void)index;
	for (unsigned i = 0; i < SILENT; i++)
		sockets[i] = wire_connect();
	attack_ready();
	for (unsigned i = 0;; i++) {
		int *socket = &sockets[i % SILENT];

		if (*socket >= 0 && !wire_is_over(*socket)) {
			if (i % SILENT == 0)
				attack_pause_ms(10);
			continue;
		}
		if (*socket >= 0)
			close(*socket);
		*socket = wire_connect();
		attack_round();
	}
}

/* The sessions of a well-behaved user, in a process of its own. */
static void hold_sessions(unsigned count)
{
	const struct vdm_options options = {
		.size = sizeof options, .flags = VDM_OPTION_REQUIRE_DAEMON, .entries = 2};

	for (unsigned i = 0; i < count; i++) {
		struct vdm_client *client;
		struct vdm_region *region;

		if (vdm_client_open(&options, &client) == 0)
			vdm_region_alloc(client, 4096, &region);
	}
	attack_ready();
	attack_pause_ms(500);
}

/* Many sessions end at the same moment: the user must not be refused for that. */
void crowd_leaves(unsigned index)
{
	struct rlimit files;

	(void)index;
	/* 100 of each process, or as many as half of the daemon's descriptors are enough for */
	CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0, "%s", strerror(errno));
	const unsigned sessions = files.rlim_max < 40000 ? (unsigned)files.rlim_max / 400 : 100;

	for (;;) {
		pid_t child = attack_fork();

		if (child == 0) {
			hold_sessions(sessions);
			_exit(0);
		}
		attack_pause_ms(1000);
		kill(child, SIGKILL);
		attack_round();
	}
}
