/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long a client waits when its daemon dies: the longest of its operations between two daemons,
 * for every client and every death. Each client has a region, and copies 4 KiB of it every 5 ms.
 *
 * pause [--clients N] [--bytes N] [--deaths N] [--until FILE]
 *
 * Kills a daemon of its own, and starts the next one at once, at the same listener. With --until
 * the clients use the daemon at $VDM_SOCKET until there is such a file, and another program
 * restarts it.
 */
#include <getopt.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "integration/check.h"
#include "integration/client_processes.h"
#include "integration/daemon_process.h"
#include "integration/ring_use.h"

#define MOST_CLIENTS 1000
#define MOST_SAMPLES 100000
#define SIZE         4096
#define PERIOD_US    5000

/* All of it is relaxed: pacing and figures, on which no memory depends. */
struct meeting {
	_Atomic bool over;
	_Atomic unsigned ready, samples;
	_Atomic unsigned came_back[MOST_CLIENTS]; /* times */
	uint64_t pause_ns[MOST_SAMPLES];
};

static unsigned clients = 1, deaths = 20;
static size_t bytes = (size_t)1 << 30;

static void add_sample(struct meeting *meeting, uint64_t ns)
{
	const unsigned i = atomic_fetch_add_explicit(&meeting->samples, 1, memory_order_relaxed);

	if (i < MOST_SAMPLES)
		meeting->pause_ns[i] = ns;
}

static void use(unsigned index, void *shared)
{
	struct meeting *meeting = shared;
	struct vdm_client *client = client_opened_with(0);
	struct vdm_ring *ring = ring_opened(client, 8, 0);
	struct vdm_region *region;
	char *memory = region_opened(client, bytes, &region);
	uint64_t longest = 0, reconnects = 0;

	atomic_fetch_add_explicit(&meeting->ready, 1, memory_order_relaxed);
	while (!atomic_load_explicit(&meeting->over, memory_order_relaxed)) {
		const uint64_t begin = monotonic_ns();

		vdm_prep_memcpy(entry(ring), memory + bytes - SIZE, memory, SIZE, 0);
		CHECK(run_one(ring) == 0, "a copy");

		const uint64_t spent = monotonic_ns() - begin;
		const uint64_t now = counters_of(client).reconnects;

		if (spent > longest)
			longest = spent;
		if (now != reconnects) {
			add_sample(meeting, longest);
			atomic_store_explicit(&meeting->came_back[index], (unsigned)now,
					      memory_order_relaxed);
			reconnects = now;
			longest = 0;
		}
		usleep(PERIOD_US);
	}
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

static void print_times(const char *what, uint64_t *ns, size_t count)
{
	CHECK(count > 0, "%s: there is none", what);
	qsort(ns, count, sizeof *ns, compare);
	printf("%-40s p50 %7.2f  p99 %7.2f  longest %7.2f ms (%zu)\n", what, ms(ns[count / 2]),
	       ms(ns[count * 99 / 100]), ms(ns[count - 1]), count);
}

static void await_all(const struct meeting *meeting, unsigned times)
{
	for (unsigned i = 0; i < clients; i++)
		while (atomic_load_explicit(&meeting->came_back[i], memory_order_relaxed) < times)
			usleep(1000);
}

static void start_clients(pid_t *pids, struct meeting *meeting)
{
	for (unsigned i = 0; i < clients; i++)
		pids[i] = client_process(use, i, meeting);
	while (atomic_load_explicit(&meeting->ready, memory_order_relaxed) < clients)
		usleep(1000);
}

static void kill_daemons(pid_t *pids, struct meeting *meeting)
{
	struct daemon_process daemon;
	uint64_t *down = calloc(deaths, sizeof *down);

	CHECK(down, "memory");
	daemon_prepare(&daemon);
	daemon_listen(&daemon);
	daemon_start(&daemon, 1);
	start_clients(pids, meeting);
	for (unsigned i = 0; i < deaths; i++) {
		usleep(200000 + (unsigned)rand() % 100000);

		const uint64_t begin = monotonic_ns();

		daemon_kill(&daemon);
		daemon_start(&daemon, 1);
		down[i] = monotonic_ns() - begin;
		await_all(meeting, i + 1);
	}
	print_times("from the kill until the next is ready", down, deaths);
	free(down);
	atomic_store_explicit(&meeting->over, true, memory_order_relaxed);
	for (unsigned i = 0; i < clients; i++)
		client_joined(pids[i]);
	daemon_stop(&daemon);
	daemon_remove(&daemon);
}

static void attend(pid_t *pids, struct meeting *meeting, const char *until)
{
	start_clients(pids, meeting);
	printf("%u clients are there\n", clients);
	fflush(stdout);
	while (access(until, F_OK) < 0)
		usleep(10000);
	atomic_store_explicit(&meeting->over, true, memory_order_relaxed);
	for (unsigned i = 0; i < clients; i++)
		client_joined(pids[i]);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"clients", required_argument, NULL, 'c'},
						{"bytes", required_argument, NULL, 'b'},
						{"deaths", required_argument, NULL, 'd'},
						{"until", required_argument, NULL, 'u'},
						{NULL, 0, NULL, 0}};
	static pid_t pids[MOST_CLIENTS];
	const char *until = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'c':
			clients = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'b':
			bytes = strtoul(optarg, NULL, 10);
			break;
		case 'd':
			deaths = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'u':
			until = optarg;
			break;
		default:
			return 2;
		}
	}
	CHECK(clients > 0 && clients <= MOST_CLIENTS && deaths > 0 && bytes >= 2 * (size_t)SIZE,
	      "1 to %u clients, at least one death, and %u bytes", MOST_CLIENTS, 2 * SIZE);

	struct meeting *meeting = shared_between_processes(sizeof *meeting);

	if (until)
		attend(pids, meeting, until);
	else
		kill_daemons(pids, meeting);

	const unsigned samples = meeting->samples;

	print_times("the longest operation of a client", meeting->pause_ns,
		    samples < MOST_SAMPLES ? samples : MOST_SAMPLES);
	return 0;
}
