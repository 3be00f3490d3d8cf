/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * I6: no wakeup is ever lost. Clients that sleep at once for every completion, without a timeout,
 * and a daemon that sleeps at once when a ring is empty (spin_us = 0): if either missed a signal,
 * this would hang. It goes on until both sides together have slept a million times.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "check.h"
#include "client_processes.h"
#include "ring_use.h"
#include "scale.h"

#define CLIENTS 4
/* Between two reports of a client. */
#define BATCH 500

struct tally {
	_Atomic uint64_t sleeps; /* of the clients; relaxed, a count that nothing else depends on */
	_Atomic int enough;      /* relaxed: a client may see it a batch later */
};

/* Changing numbers of operations, so that signals are asked for one and for many completions. */
static void sleep_and_wake(struct vdm_ring *ring, char *memory, unsigned round)
{
	struct vdm_cqe *cqes[8];
	unsigned count = round % 16 ? 1 : 1 + round / 16 % 8;

	for (unsigned i = 0; i < count; i++) {
		struct vdm_sqe *sqe = entry(ring);

		vdm_prep_memset(sqe, memory + i * 64, (int)round, 64, 0);
		sqe->user_data = i;
	}
	CHECK(vdm_ring_submit(ring) == (int)count, "submitting");
	CHECK(vdm_ring_wait_cqes(ring, cqes, count, NULL) == 0, "waiting for %u", count);
	for (unsigned i = 0; i < count; i++) {
		CHECK(cqes[i]->result == 0 && cqes[i]->user_data == i, "completion %u", i);
		CHECK((unsigned char)memory[i * 64 + 63] == (round & 0xff), "byte %d",
		      memory[i * 64 + 63]);
	}
	vdm_ring_cq_advance(ring, count);
}

static void sleeper(unsigned index, void *argument)
{
	struct tally *tally = argument;
	const struct vdm_options options = {
		.size = sizeof options, .spin_us = VDM_NO_SPIN, .entries = 16};
	struct vdm_client *client = client_opened();
	struct vdm_region *region;
	char *memory = region_opened(client, 4096, &region);
	struct vdm_ring *ring;
	uint64_t reported = 0;

	CHECK(vdm_ring_open(client, &options, &ring) == 0, "client %u", index);
	while (!atomic_load_explicit(&tally->enough, memory_order_relaxed)) {
		for (unsigned i = 0; i < BATCH; i++)
			sleep_and_wake(ring, memory, i);
		uint64_t sleeps = counters_of(client).sleeps;

		atomic_fetch_add_explicit(&tally->sleeps, sleeps - reported, memory_order_relaxed);
		reported = sleeps;
	}
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
}

static uint64_t daemon_wakeups(void)
{
	struct vdm_status *status;

	CHECK(vdm_status_read(NULL, &status) == 0, "status");
	uint64_t wakeups = status->wakeups;

	free(status);
	return wakeups;
}

int main(int argc, char **argv)
{
	struct tally *tally = shared_between_processes(sizeof *tally);
	pid_t clients[CLIENTS];
	uint64_t begin, wakeups, sleeps;

	scale_from_arguments(argc, argv);
	guard_against_hanging(180);
	begin = daemon_wakeups();
	for (unsigned i = 0; i < CLIENTS; i++)
		clients[i] = client_process(sleeper, i, tally);
	do {
		/* to leave the processors to the clients that are measured */
		usleep(100000);
		wakeups = daemon_wakeups() - begin;
		sleeps = atomic_load_explicit(&tally->sleeps, memory_order_relaxed);
	} while (sleeps + wakeups < scaled(1000000));
	atomic_store_explicit(&tally->enough, 1, memory_order_relaxed);
	for (unsigned i = 0; i < CLIENTS; i++)
		client_joined(clients[i]);
	printf("%" PRIu64 " sleeps of clients, %" PRIu64 " of the daemon's workers\n", sleeps,
	       wakeups);
	CHECK(sleeps > 0 && wakeups > 0, "both sides have to sleep for this to test anything");
	return 0;
}
