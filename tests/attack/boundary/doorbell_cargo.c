/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages in doorbells, which bring descriptors that take long to close. */
#include "attacks.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libvdm.h>

#include "ring_sockets.h"
#include "slow_files.h"
#include "wire.h"

/* Two of each kind in a doorbell. */
#define DESCRIPTORS 4
#define LARGE_BYTES ((size_t)64 << 20)

/* What else is in it: the daemon has it emptied now and then, of which the first ones keep it. */
#define MOST_BELLS 300

static bool has_room(int doorbell)
{
	struct pollfd fd = {.fd = doorbell, .events = POLLOUT};

	return poll(&fd, 1, 0) == 1 && (fd.revents & POLLOUT);
}

static void load(int doorbell)
{
	for (unsigned i = 0; i < DESCRIPTORS && has_room(doorbell); i++) {
		int fd = i % 2 ? lingering_socket() : large_memfd(LARGE_BYTES);

		if (fd < 0)
			continue;
		wire_send(doorbell, "12345678", 8 * (i / 2), &fd, 1);
		close(fd);
	}
	for (unsigned i = 0; i < MOST_BELLS && ring_doorbell(doorbell); i++)
		;
}

/* Load the doorbell of a ring, and have the ring destroyed, or the session end. */
static void load_one(bool destroy)
{
	static struct open_files before;
	const struct vdm_options options = {
		.size = sizeof options, .flags = VDM_OPTION_REQUIRE_DAEMON, .entries = 2};
	struct vdm_client *client;
	struct vdm_ring *ring;
	int doorbell;

	if (vdm_client_open(&options, &client) != 0)
		return;
	open_files_note(&before);
	if (vdm_ring_open(client, NULL, &ring) != 0)
		return;
	if (ring_sockets_doorbells(&before, &doorbell, 1) != 1)
		attack_skip("a ring has no doorbell");
	load(doorbell);
	attack_round();
	if (destroy)
		vdm_ring_close(ring);
	vdm_client_close(client);
}

/* Children do it, because the daemon makes this user wait for what it has sent. */
void doorbell_cargo(unsigned index)
{
	enum { CHILDREN = 8 };
	pid_t children[CHILDREN] = {0};

	if (lingering_socket() < 0)
		attack_skip("there are no sockets that linger");
	attack_ready();
	for (unsigned n = index;; n++) {
		pid_t *child = &children[n % CHILDREN];

		if (*child > 0) {
			kill(*child, SIGKILL);
			waitpid(*child, NULL, 0);
		}
		*child = attack_fork();
		if (*child == 0) {
			load_one(n % 2);
			_exit(0);
		}
		attack_pause_ms(100);
	}
}
