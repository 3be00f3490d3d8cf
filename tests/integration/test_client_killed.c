/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * 500 clients are killed under load at any moment of their life, some of them after they have been
 * stopped for a while. The daemon releases everything that they held, and a client beside them does
 * not notice. VDM_TEST_SCALE=2000 makes that 10 000 clients.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#include "check.h"
#include "client_processes.h"
#include "process_figures.h"
#include "ring_use.h"
#include "scale.h"

#define AT_ONCE 5
#define RINGS   3
#define BYTES   ((size_t)8 << 20)

/* Opens, copies and closes until it is killed. */
static void short_lived(unsigned index, void *argument)
{
	(void)argument;
	for (unsigned round = index;; round++) {
		struct vdm_client *client = client_opened();
		struct vdm_ring *ring[RINGS];
		struct vdm_region *from, *to;
		char *src = region_opened(client, BYTES, &from);
		char *dest = region_opened(client, BYTES, &to);

		for (unsigned i = 0; i < RINGS; i++)
			ring[i] = ring_opened(client, 64, 0);
		for (unsigned n = 0; n < 20 * RINGS; n++) {
			for (unsigned i = 0; i < 32; i++) {
				size_t length = i % 8 ? 1 + (size_t)rand() % 5000 : BYTES / 4;
				size_t offset = (size_t)rand() % (BYTES - length);
				struct vdm_sqe *sqe = entry(ring[n % RINGS]);

				vdm_prep_memcpy(sqe, dest + offset, src + offset, length, 0);
				sqe->user_data = i;
			}
			run_all(ring[n % RINGS], 32, NULL, NULL);
		}
		for (unsigned i = 0; i < RINGS; i++)
			vdm_ring_close(ring[i]);
		vdm_region_release(from);
		vdm_region_release(to);
		vdm_client_close(client);
	}
}

static void kill_at_a_random_moment(pid_t pid)
{
	const struct timespec life = {.tv_nsec = rand() % 40000000};

	nanosleep(&life, NULL);
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, NULL, 0) == pid, "waiting");
}

/* The survivor: works all the time. */
static void work(struct vdm_ring *ring, char *memory, int value)
{
	for (unsigned i = 0; i < 64; i++) {
		struct vdm_sqe *sqe = entry(ring);

		vdm_prep_memset(sqe, memory + i * 100, value, 100, 0);
		sqe->user_data = i;
	}
	int32_t results[64];

	run_all(ring, 64, results, NULL);
	for (unsigned i = 0; i < 64; i++)
		CHECK(results[i] == 0, "the survivor's operation: %d", results[i]);
	for (unsigned i = 0; i < 6400; i++)
		CHECK(memory[i] == (char)value, "the survivor's byte %u", i);
}

int main(int argc, char **argv)
{
	struct vdm_client *client;
	struct vdm_ring *ring;
	struct vdm_region *region;
	pid_t victims[AT_ONCE];
	char *memory;

	scale_from_arguments(argc, argv);
	guard_against_hanging((unsigned)(90 + scaled(60)));
	srand(1);
	client = client_opened();
	ring = ring_opened(client, 64, 0);
	memory = region_opened(client, 8192, &region);
	work(ring, memory, 1);

	unsigned fds = count_fds(daemon_pid());
	unsigned mappings = count_memfd_mappings(daemon_pid());
	unsigned count = (unsigned)scaled(500), kib = 0;

	for (unsigned i = 0; i < AT_ONCE; i++)
		victims[i] = client_process(short_lived, i, NULL);
	for (unsigned i = 0; i < count; i++) {
		unsigned n = i % AT_ONCE;

		if (i % 7 == 0) {
			kill(victims[n], SIGSTOP);
			/* the daemon does not wait for a stopped client */
			work(ring, memory, (int)i);
		}
		kill_at_a_random_moment(victims[n]);
		victims[n] = client_process(short_lived, n + i, NULL);
		work(ring, memory, (int)i);
		if (i == count / 5) /* when it has all that it will ever need */
			kib = anonymous_kib(daemon_pid());
	}
	for (unsigned i = 0; i < AT_ONCE; i++)
		kill_at_a_random_moment(victims[i]);

	await_sessions(1 + 1); /* the survivor's, and the one that asks */
	await_figure("descriptors of the daemon", count_fds, daemon_pid(), fds);
	await_figure("memory files mapped by the daemon", count_memfd_mappings, daemon_pid(),
		     mappings);
	unsigned now_kib = anonymous_kib(daemon_pid());

	printf("%u clients killed; memory of the daemon: %u KiB after a fifth of them, %u KiB after all\n",
	       count, kib, now_kib);
	/* one per cent, and what an allocator keeps for itself; sanitizers keep more */
	CHECK(is_sanitized() || now_kib <= kib + kib / 100 + 256, "the daemon has grown");
	CHECK(daemon_figures().violated == 0, "being killed is no violation");
	work(ring, memory, 2);
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
	return 0;
}
