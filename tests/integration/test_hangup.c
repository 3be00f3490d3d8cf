/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * No byte of an operation moves any more when the ring's event channel has hung up (see
 * client/ring_recovery.h), which a client without recovery sees as -ENOTCONN: though the daemon has
 * more workers than the machine has CPUs, each within a copy, and takes long to end, having much
 * memory mapped; and though it is the porter that has died, and the workers go on.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "daemon_process.h"
#include "filer_process.h"
#include "ring_use.h"
#include "scale.h"

#define WORKERS 32
#define RINGS   8
#define SIZE    ((size_t)32 << 20) /* of each operation */
#define MARK    ((char)0xee)       /* what the client writes when its operation has ended */
#define ROUNDS  10

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* Wait for an operation. Returns whether the death has ended it. */
static bool await_end(struct vdm_ring *ring)
{
	struct vdm_cqe *cqe = NULL;

	CHECK(vdm_ring_wait_cqe(ring, &cqe) == 0, "a wait");

	const int result = cqe->result;

	CHECK(result == 0 || result == -ENOTCONN, "result %d", result);
	vdm_ring_cqe_seen(ring, cqe);
	return result != 0;
}

/* The engine's process dies, or the client's porter. Returns how many operations that has ended. */
static unsigned kill_amid_copies(struct daemon_process *daemon, bool porter)
{
	struct vdm_client *client = client_opened_with(VDM_OPTION_NO_RECOVERY);
	struct vdm_region *region;
	char *source = region_opened(client, (RINGS + 1) * SIZE, &region), *dest[RINGS];
	struct vdm_ring *ring[RINGS];
	unsigned ended = 0;

	for (unsigned i = 0; i < RINGS; i++) {
		dest[i] = source + (i + 1) * SIZE;
		ring[i] = ring_opened(client, 8, 0);
	}

	const pid_t victim = porter ? grandchild_named(daemon->pid, "vdmd-porter") : daemon->pid;

	for (unsigned i = 0; i < RINGS; i++) {
		vdm_prep_memcpy(entry(ring[i]), dest[i], source, SIZE, 0);
		CHECK(vdm_ring_submit(ring[i]) == 1, "submitting");
	}
	pause_ms((unsigned)rand() % 8);
	CHECK(victim > 0 && kill(victim, SIGKILL) == 0, "%s", strerror(errno));
	for (unsigned i = 0; i < RINGS; i++) {
		ended += await_end(ring[i]);
		memset(dest[i], MARK, SIZE);
	}
	if (!porter) {
		daemon_kill(daemon);
		daemon_start(daemon, WORKERS);
	}
	pause_ms(20);
	for (unsigned i = 0; i < RINGS; i++) {
		CHECK(dest[i][0] == MARK && memcmp(dest[i], dest[i] + 1, SIZE - 1) == 0,
		      "a store came after the hang-up");
		vdm_ring_close(ring[i]);
	}
	vdm_region_release(region);
	vdm_client_close(client);
	return ended;
}

int main(void)
{
	struct daemon_process daemon;
	unsigned ended[2] = {0, 0};

	guard_against_hanging(100);
	daemon_prepare(&daemon);
	daemon_listen(&daemon);
	daemon_start(&daemon, WORKERS);
	for (unsigned i = 0; i < scaled(ROUNDS) + 1; i++)
		for (int porter = 0; porter < 2; porter++)
			ended[porter] += kill_amid_copies(&daemon, porter);
	printf("%u operations ended by the daemon's death, %u by a porter's\n", ended[0], ended[1]);
	CHECK(ended[0] > 0 && ended[1] > 0, "nothing was going on");
	CHECK(daemon_stop(&daemon) == 0, "the daemon's exit status");
	daemon_remove(&daemon);
	return 0;
}
