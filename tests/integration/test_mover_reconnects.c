/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon is killed and another one is started: movers that were open offload again, also to
 * pollers that sleep, and an operation in between succeeds in this process. Both kinds of movers
 * that have a ring to the daemon.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libvdm-miniasync/libminiasync.h>

#include "check.h"
#include "client_processes.h"
#include "daemon_process.h"
#include "scale.h"

#define BYTES ((size_t)1 << 20)

struct mover {
	struct vdm *vdm;
	struct runtime *runtime;
	char *memory; /* in a region */
};

static void copy_once(const struct mover *mover, char fill)
{
	char *from = mover->memory, *to = from + BYTES;
	struct vdm_operation_future copy = vdm_memcpy(mover->vdm, to, from, BYTES, 0);

	memset(from, fill, BYTES);
	runtime_wait(mover->runtime, FUTURE_AS_RUNNABLE(&copy));
	CHECK(FUTURE_OUTPUT(&copy)->result == VDM_SUCCESS, "a copy");
	CHECK(to[0] == fill && to[BYTES - 1] == fill, "its bytes");
}

static uint64_t copies_of_daemon(void)
{
	struct vdm_status *status;

	CHECK(vdm_status_read(NULL, &status) == 0, "reading the status");

	uint64_t copies = status->counts.memcpy;

	free(status);
	return copies;
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* The first copies may be made before the daemon has answered. */
static void copy_until_offloaded(const struct mover *mover)
{
	for (unsigned i = 0; copies_of_daemon() == 0; i++) {
		CHECK(i < 1000, "the mover does not come to the daemon");
		copy_once(mover, 3);
		pause_ms(5);
	}
}

static void outlive_daemons(struct daemon_process *daemon, const struct mover *mover)
{
	for (unsigned round = 0; round < 3; round++) {
		copy_until_offloaded(mover);
		daemon_kill(daemon);
		pause_ms(50); /* the time until movers notice the death */
		copy_once(mover, 2);
		daemon_start(daemon, 1);
		copy_until_offloaded(mover);
		for (unsigned i = 0; i < 100; i++)
			copy_once(mover, (char)i);
		CHECK(copies_of_daemon() >= 100, "it stays with it");
		daemon_kill(daemon);
		daemon_start(daemon, 1);
		pause_ms(50);
		copy_once(mover, 4); /* dead and back between two operations */
		daemon_kill(daemon);
		daemon_start(daemon, 1);
		while (copies_of_daemon() == 0) {
			pause_ms(50);
			copy_once(mover, 5);
		}
		daemon_kill(daemon);
		daemon_start(daemon, 1);
		pause_ms(50);
	}
}

int main(void)
{
	struct daemon_process daemon;
	struct vdm_region *region;
	struct mover mover = {.runtime = runtime_new()};

	guard_against_hanging(100);
	daemon_prepare(&daemon);
	daemon_start(&daemon, 1);
	CHECK(vdm_region_alloc(vdm_client_default(), 2 * BYTES, &region) == 0, "a region");
	mover.memory = vdm_region_address(region);

	struct data_mover_daemon *of_daemon = data_mover_daemon_default();

	mover.vdm = data_mover_daemon_get_vdm(of_daemon);
	outlive_daemons(&daemon, &mover);
	data_mover_daemon_delete(of_daemon);

	struct data_mover_threads *of_threads = data_mover_threads_default();

	mover.vdm = data_mover_threads_get_vdm(of_threads);
	outlive_daemons(&daemon, &mover);
	data_mover_threads_delete(of_threads);

	vdm_region_release(region);
	runtime_delete(mover.runtime);
	daemon_kill(&daemon);
	daemon_remove(&daemon);
	return 0;
}
