/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * I7: with ten clients connected, each of which has used its ring and then fallen silent, no thread
 * of the daemon runs: not one context switch in ten seconds.
 */
#include <inttypes.h>
#include <time.h>

#include "check.h"
#include "process_figures.h"
#include "ring_use.h"
#include "scale.h"

#define CLIENTS 10

static void doze(unsigned long milliseconds)
{
	const struct timespec time = {.tv_sec = (time_t)(milliseconds / 1000),
				      .tv_nsec = (long)(milliseconds % 1000) * 1000000};

	nanosleep(&time, NULL);
}

int main(int argc, char **argv)
{
	struct vdm_client *client[CLIENTS];
	struct vdm_ring *ring[CLIENTS];
	struct vdm_region *region[CLIENTS];

	scale_from_arguments(argc, argv);
	guard_against_hanging(90);
	for (unsigned i = 0; i < CLIENTS; i++) {
		client[i] = client_opened();
		ring[i] = ring_opened(client[i], 64, 0);
		char *memory = region_opened(client[i], 1 << 20, &region[i]);

		vdm_prep_memset(entry(ring[i]), memory, 1, 1 << 20, 0);
		CHECK(run_one(ring[i]) == 0, "client %u", i);
	}

	/* It may spin for a while before it sleeps. */
	uint64_t before, settled = context_switches(daemon_pid());

	do {
		before = settled;
		doze(300);
		settled = context_switches(daemon_pid());
	} while (settled != before);
	doze(scaled(10000));
	uint64_t after = context_switches(daemon_pid());

	CHECK(after == settled, "%" PRIu64 " context switches of an idle daemon", after - settled);

	/* And it is still alive. */
	for (unsigned i = 0; i < CLIENTS; i++) {
		vdm_prep_memset(entry(ring[i]), vdm_region_address(region[i]), 2, 4096, 0);
		CHECK(run_one(ring[i]) == 0, "client %u", i);
		vdm_ring_close(ring[i]);
		vdm_region_release(region[i]);
		vdm_client_close(client[i]);
	}
	return 0;
}
