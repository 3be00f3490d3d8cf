/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages of completion files, kept in pipes and sockets after their rings are gone: the
 * process that allocated them goes on paying.
 */
#include "attacks.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <libvdm.h>

#include "integration/ring_memory.h"

#define ENTRIES 4096
#define PAGE    4096
#define RINGS   15 /* of a client: ring_opened_in() knows 16 files */

/* A pipe as a way to a socket, and the socket that keeps what came through it. */
static int pipe_ends[2] = {-1, -1}, store[2] = {-1, -1};

static bool open_store(void)
{
	int size = 1 << 20;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, store) < 0)
		return false;
	setsockopt(store[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	return true;
}

/* The other pages go to a new socket once this one is full; all stay open. */
static void pin(char *memory, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		struct iovec part = {memory + done, PAGE};

		if (vmsplice(pipe_ends[1], &part, 1, SPLICE_F_NONBLOCK) != PAGE)
			return;
		while (splice(pipe_ends[0], NULL, store[0], NULL, PAGE, SPLICE_F_NONBLOCK) <= 0)
			if (!open_store())
				return;
		done += PAGE;
	}
}

void pin_completions(unsigned index)
{
	const struct vdm_options options = {.size = sizeof options,
					    .flags = VDM_OPTION_REQUIRE_DAEMON};

	(void)index;
	if (pipe2(pipe_ends, O_CLOEXEC) < 0 || !open_store())
		attack_skip("there is no pipe, or no socket");
	attack_ready();
	for (;;) {
		struct vdm_client *client;

		if (vdm_client_open(&options, &client) != 0) {
			attack_pause_ms(10);
			continue;
		}
		for (unsigned i = 0; i < RINGS; i++) {
			struct ring_memory memory;
			struct vdm_ring *ring = ring_opened_in(client, ENTRIES, 0, &memory);

			pin(memory.completion.memory, memory.completion.size);
			vdm_ring_close(ring);
			attack_round();
		}
		vdm_client_close(client);
	}
}
