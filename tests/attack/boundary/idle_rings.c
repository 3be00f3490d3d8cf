/* SPDX-License-Identifier: BSD-3-Clause */
/* As many rings as a user may have, none of which has much to do. */
#include "attacks.h"

#include <stdlib.h>

#include <libvdm.h>

#include "ring_sockets.h"

#define CLIENTS           16
#define RINGS_OF_A_CLIENT 64
#define RINGS             (CLIENTS * RINGS_OF_A_CLIENT)

static struct vdm_ring *rings[RINGS];
static char *memories[RINGS]; /* of a region of the ring's client */
static unsigned ring_count;
static int doorbells[RINGS];
static unsigned doorbell_count;

static void open_rings(struct vdm_client *client, struct vdm_region *region)
{
	static struct open_files before;

	open_files_note(&before);
	for (unsigned i = 0; i < RINGS_OF_A_CLIENT; i++) {
		if (vdm_ring_open(client, NULL, &rings[ring_count]) != 0)
			break;
		memories[ring_count++] = vdm_region_address(region);
	}
	doorbell_count +=
		ring_sockets_doorbells(&before, &doorbells[doorbell_count], RINGS - doorbell_count);
}

static void open_all(void)
{
	const struct vdm_options options = {.size = sizeof options,
					    .flags = VDM_OPTION_REQUIRE_DAEMON,
					    .entries = 4,
					    .offload_threshold = 1};

	for (unsigned i = 0; i < CLIENTS; i++) {
		struct vdm_client *client;
		struct vdm_region *region;

		if (vdm_client_open(&options, &client) != 0)
			continue;
		if (vdm_region_alloc(client, 8192, &region) != 0)
			continue;
		open_rings(client, region);
	}
}

static void ring_all(void)
{
	for (;;) {
		for (unsigned i = 0; i < doorbell_count; i++)
			ring_doorbell(doorbells[i]);
		attack_round();
	}
}

void idle_rings_doorbells(unsigned index)
{
	(void)index;
	open_all();
	if (doorbell_count == 0)
		attack_skip("no ring has a doorbell");
	attack_ready();
	attack_fork(); /* both go on */
	ring_all();
}

/* Submit one small operation, and have the daemon signal its completion. */
static void submit_one(unsigned i)
{
	struct vdm_sqe *sqe = vdm_ring_get_sqe(rings[i]);
	struct vdm_cqe *cqe;

	if (sqe) {
		vdm_prep_memset(sqe, memories[i], 0, 8, 0);
		vdm_ring_submit(rings[i]);
	}
	/* peeking until there is nothing asks for a signal */
	while (vdm_ring_peek_cqe(rings[i], &cqe) == 0)
		vdm_ring_cqe_seen(rings[i], cqe);
}

void idle_rings_armed(unsigned index)
{
	(void)index;
	open_all();
	for (unsigned i = 0; i < ring_count; i++)
		vdm_ring_eventfd(rings[i]);
	attack_ready();
	for (;;) {
		for (unsigned i = 0; i < ring_count; i++)
			submit_one(i);
		attack_round();
	}
}
