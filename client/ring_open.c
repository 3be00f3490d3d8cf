/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening a ring of a client, and closing any ring. */
#include <stddef.h>

#include "cancellation.h"
#include "engine/engine.h"
#include "file_lane.h"
#include "filer.h"
#include "fork.h"
#include "options.h"
#include "ring.h"
#include "ring_daemon.h"

int vdm_ring_open(struct vdm_client *client, const struct vdm_options *given, struct vdm_ring **out)
{
	WITHOUT_CANCELLATION;
	struct vdm_options options;
	int result = options_complete(given, &client->options, &options);

	if (result)
		return result;
	if (fork_happened(client->epoch))
		return fork_error();
	connection_renew(&client->connection, GREETING_PATIENCE_MS);
	filer_renew(client);
	return ring_daemon_open(client, &options, out);
}

/* The child of a fork has neither the shared memory (MADV_DONTFORK) nor the workers. */
static void close_in_child(struct vdm_ring *ring)
{
	struct vdm_ring *sides[] = {ring, ring->lanes[FILE_LANE_HERE],
				    ring->lanes[FILE_LANE_FILER]};

	for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
		if (!sides[i])
			continue;
		if (sides[i]->client)
			sides[i]->submission = NULL;
		ring_free(sides[i]);
	}
}

void vdm_ring_close(struct vdm_ring *ring)
{
	if (!ring)
		return;
	WITHOUT_CANCELLATION;
	if (fork_happened(ring->epoch)) {
		close_in_child(ring);
		return;
	}
	if (ring->client) {
		file_lanes_close(ring);
		ring_daemon_close(ring);
	} else {
		engine_queue_remove(ring->queue, NULL);
		ring_free(ring);
	}
}
