/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon is killed under load, twenty times; VDM_TEST_SCALE=1500 makes that 300. The clients
 * do without recovery. Every operation in flight of every client ends, with -ENOTCONN or as if
 * nothing had happened, however its client waits. No client hangs, and regions keep their bytes. A
 * later open finds the daemon that was started in its place.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>

#include "check.h"
#include "client_processes.h"
#include "daemon_process.h"
#include "ring_use.h"
#include "scale.h"

#define CLIENTS 6
#define DEPTH   64
#define BYTES   ((size_t)16 << 20)

/* All of it is relaxed: pacing, on which no memory depends. */
struct meeting {
	_Atomic unsigned filled[CLIENTS]; /* how often each has filled its ring */
	_Atomic unsigned through; /* clients whose operations have all ended after the kill */
	_Atomic unsigned restarted;
};

static unsigned get(_Atomic unsigned *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

static void add_one(_Atomic unsigned *value)
{
	atomic_fetch_add_explicit(value, 1, memory_order_relaxed);
}

static void await_at_least(_Atomic unsigned *value, unsigned wanted)
{
	while (get(value) < wanted)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* How a client gets its next completion; they all have to notice the daemon's end. */
enum way { SLEEP, SPIN, PEEK, TIMED, EPOLL, WAYS };

static void next_completion(struct vdm_ring *ring, enum way way, int epoll, struct vdm_cqe **cqe)
{
	const struct timespec hour = {.tv_sec = 3600};
	struct epoll_event event;

	switch (way) {
	case PEEK:
		while (vdm_ring_peek_cqe(ring, cqe) == -EAGAIN)
			;
		break;
	case TIMED:
		CHECK(vdm_ring_wait_cqes(ring, cqe, 1, &hour) == 0, "a wait with a timeout");
		break;
	case EPOLL:
		while (vdm_ring_peek_cqe(ring, cqe) == -EAGAIN)
			CHECK(epoll_wait(epoll, &event, 1, -1) == 1, "epoll_wait");
		break;
	default:
		CHECK(vdm_ring_wait_cqe(ring, cqe) == 0, "a wait without a timeout");
	}
}

static struct vdm_ring *ring_for(struct vdm_client *client, enum way way, int *epoll)
{
	const struct vdm_options options = {.size = sizeof options,
					    .entries = DEPTH,
					    .spin_us = way == SPIN ? 1000000000 : VDM_NO_SPIN};
	struct epoll_event event = {.events = EPOLLIN};
	struct vdm_ring *ring;

	CHECK(vdm_ring_open(client, &options, &ring) == 0, "opening a ring");
	*epoll = epoll_create1(EPOLL_CLOEXEC);
	if (way == EPOLL)
		CHECK(epoll_ctl(*epoll, EPOLL_CTL_ADD, vdm_ring_eventfd(ring), &event) == 0, "%s",
		      strerror(errno));
	return ring;
}

/* Keep the ring full until an operation reports the daemon's end, then collect the rest. */
static void copy_until_the_daemon_dies(struct vdm_ring *ring, enum way way, int epoll, char *dest,
				       char *src, _Atomic unsigned *filled)
{
	static unsigned char in_flight[1 << 16];
	unsigned outstanding = 0;
	uint16_t next = 0;
	bool lost = false;

	while (!lost || outstanding > 0) {
		struct vdm_sqe *sqe;
		struct vdm_cqe *cqe;

		while (!lost && (sqe = vdm_ring_get_sqe(ring))) {
			size_t length = next % 4 ? 4096 : BYTES / 8;

			vdm_prep_memcpy(sqe, dest + next % 8 * (BYTES / 8),
					src + next % 8 * (BYTES / 8), length, 0);
			sqe->user_data = next;
			CHECK(!in_flight[next], "id %u is still in flight", next);
			in_flight[next++] = 1;
			outstanding++;
		}
		CHECK(vdm_ring_submit(ring) >= 0, "submitting");
		add_one(filled);
		next_completion(ring, way, epoll, &cqe);
		CHECK(cqe->result == 0 || cqe->result == -ENOTCONN, "result %d", cqe->result);
		CHECK(cqe->user_data <= UINT16_MAX && in_flight[cqe->user_data],
		      "id %u completed twice", (unsigned)cqe->user_data);
		in_flight[cqe->user_data] = 0;
		lost |= cqe->result == -ENOTCONN;
		vdm_ring_cqe_seen(ring, cqe);
		outstanding--;
	}
	struct vdm_cqe *surplus;

	CHECK(vdm_ring_peek_cqe(ring, &surplus) == -EAGAIN, "a completion too many");
}

static void use_afresh(void)
{
	struct vdm_client *client = client_opened();
	struct vdm_ring *ring = ring_opened(client, 4, 0);
	struct vdm_region *region;
	char *memory = region_opened(client, 4096, &region);

	vdm_prep_memset(entry(ring), memory, 5, 4096, 0);
	CHECK(run_one(ring) == 0 && memory[4095] == 5, "an operation of the new daemon");
	CHECK(counters_of(client).offloaded == 1, "it should have been offloaded");
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
}

static void loaded_client(unsigned index, void *argument)
{
	struct meeting *meeting = argument;
	enum way way = index % WAYS;
	struct vdm_client *client = client_opened_with(VDM_OPTION_NO_RECOVERY);
	struct vdm_region *from, *to;
	char *src = region_opened(client, BYTES, &from);
	char *dest = region_opened(client, BYTES, &to);
	int epoll;
	struct vdm_ring *ring = ring_for(client, way, &epoll);

	memset(src, 0x42, BYTES);
	copy_until_the_daemon_dies(ring, way, epoll, dest, src, &meeting->filled[index]);
	add_one(&meeting->through);

	/* What is left of the old connection does no harm. */
	for (size_t i = 0; i < BYTES; i += 4096)
		CHECK(src[i] == 0x42, "the region's bytes");
	vdm_prep_memset(entry(ring), dest, 1, 4096, 0);
	int32_t result = run_one(ring);

	CHECK(result == -ENOTCONN || (result == 0 && dest[4095] == 1), "result %d", result);

	await_at_least(&meeting->restarted, 1);
	use_afresh();
	close(epoll);
	vdm_ring_close(ring);
	vdm_region_release(from);
	vdm_region_release(to);
	vdm_client_close(client);
	use_afresh();
}

static void kill_under_load(struct daemon_process *daemon)
{
	struct meeting *meeting = shared_between_processes(sizeof *meeting);
	pid_t clients[CLIENTS];

	daemon_start(daemon, 1 + (unsigned)rand() % 2);
	for (unsigned i = 0; i < CLIENTS; i++)
		clients[i] = client_process(loaded_client, i, meeting);
	for (unsigned i = 0; i < CLIENTS; i++)
		await_at_least(&meeting->filled[i], 20);
	daemon_kill(daemon);
	await_at_least(&meeting->through, CLIENTS);
	/* at the socket that the dead daemon has left */
	daemon_start(daemon, 1);
	add_one(&meeting->restarted);
	for (unsigned i = 0; i < CLIENTS; i++)
		client_joined(clients[i]);
	CHECK(daemon_stop(daemon) == 0, "the daemon's exit status");
}

/* The connection that a process shares comes back by itself. */
static void default_client(unsigned index, void *argument)
{
	struct daemon_process *daemon = argument;
	struct vdm_client_info info = {.size = sizeof info};

	(void)index;
	daemon_start(daemon, 1);
	CHECK(vdm_client_info(vdm_client_default(), &info) == 0 && info.connected, "at first");
	daemon_kill(daemon);
	/* whether it has noticed yet or not, this works */
	CHECK(vdm_client_default() != NULL, "while there is no daemon");
	daemon_start(daemon, 1);
	do
		CHECK(vdm_client_info(vdm_client_default(), &info) == 0, "afterwards");
	while (!info.connected);
	CHECK(daemon_stop(daemon) == 0, "the daemon's exit status");
}

int main(int argc, char **argv)
{
	struct daemon_process daemon;

	scale_from_arguments(argc, argv);
	guard_against_hanging((unsigned)(90 + scaled(60)));
	daemon_prepare(&daemon);
	for (unsigned round = 0; round < (scaled(20) > 2 ? scaled(20) : 2); round++)
		kill_under_load(&daemon);
	client_joined(client_process(default_client, 0, &daemon));
	daemon_remove(&daemon);
	return 0;
}
