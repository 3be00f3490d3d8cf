/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening a ring that the daemon serves, and closing any ring. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/barrier.h"
#include "cancellation.h"
#include "engine/engine.h"
#include "error.h"
#include "fork.h"
#include "options.h"
#include "proto/submission.h"
#include "ring.h"
#include "ring_flight.h"

static struct vdm_message_ring_destroy destroy_request(uint32_t id)
{
	return (struct vdm_message_ring_destroy){
		.header = {VDM_MESSAGE_RING_DESTROY, sizeof(struct vdm_message_ring_destroy)},
		.ring = id,
	};
}

/* Have the daemon destroy a ring that has not been used. The caller holds the connection's
 * `talk`. */
static void destroy_unused(struct vdm_client *client, uint32_t id)
{
	struct vdm_message_ring_destroy request = destroy_request(id);
	struct vdm_packet reply;

	connection_request(&client->connection, &request.header, NULL, 0, VDM_MESSAGE_DONE, 0,
			   &reply);
}

/* Have the daemon make and serve its side of a ring. The caller holds the connection's `talk`. */
static int ring_create(struct vdm_ring *ring, int32_t priority)
{
	struct vdm_message_ring_create request = {
		.header = {VDM_MESSAGE_RING_CREATE, sizeof request},
		.entries = ring->entries,
		.first_sequence = ring->sq_position,
		.priority = priority,
	};
	struct vdm_packet reply = {0};
	void *submission;

	if (ring->client->connection.state != CONNECTION_OPEN)
		return -ENOTCONN;

	int fd = vdm_submission_make(ring->entries, ring->sq_position, &submission);

	if (fd < 0)
		return fail(fd, "cannot make the memory of a ring: %s", strerror(-fd));

	int result = connection_request(&ring->client->connection, &request.header, &fd, 1,
					VDM_MESSAGE_RING_CREATED, VDM_RING_FD_COUNT, &reply);

	close(fd);
	/* the daemon has made a ring, but its descriptors did not arrive */
	if (result == -EMFILE && reply.truncated)
		destroy_unused(ring->client, reply.message.ring_created.ring);
	if (result) {
		munmap(submission, vdm_submission_size(ring->entries));
		return result;
	}

	void *completion = mmap(NULL, vdm_completion_size(ring->entries), PROT_READ,
				MAP_SHARED | MAP_POPULATE, reply.fds[VDM_RING_FD_COMPLETION], 0);

	if (completion == MAP_FAILED) {
		result = -errno;
		munmap(submission, vdm_submission_size(ring->entries));
		vdm_packet_close(&reply);
		destroy_unused(ring->client, reply.message.ring_created.ring);
		return fail(result, "cannot map the ring: %s", strerror(-result));
	}
	/* A child that wrote to its parent's ring would be a second producer, so it does not get
	 * the memory. */
	madvise(submission, vdm_submission_size(ring->entries), MADV_DONTFORK);
	madvise(completion, vdm_completion_size(ring->entries), MADV_DONTFORK);
	ring->id = reply.message.ring_created.ring;
	ring->doorbell_fd = vdm_packet_take(&reply, VDM_RING_FD_DOORBELL);
	ring->event_fd = vdm_packet_take(&reply, VDM_RING_FD_EVENT);
	vdm_packet_close(&reply);
	ring_attach(ring, submission, completion);
	ring->takes_back = ring->client->connection.welcome.features & VDM_FEATURE_TAKE_BACK;
	ring->asymmetric = (ring->client->connection.welcome.features & VDM_FEATURE_BARRIER) &&
			   barrier_register();
	ring->connection = ring->client->connection.number;
	return 0;
}

int vdm_ring_open(struct vdm_client *client, const struct vdm_options *given, struct vdm_ring **out)
{
	WITHOUT_CANCELLATION;
	struct vdm_options options;
	int result = options_complete(given, &client->options, &options);

	if (result)
		return result;
	if (fork_happened(client->epoch))
		return fork_error();

	struct vdm_ring *ring = ring_new(client, options.entries, options.first_sequence);

	if (!ring)
		return fail(-ENOMEM, "out of memory");
	ring->spin_us = options.spin_us;

	connection_renew(&client->connection);
	pthread_mutex_lock(&client->connection.talk);
	result = ring_create(ring, options.priority);
	if (result == -ENOTCONN)
		result = 0; /* the local lane serves */
	ring->threshold = options.offload_threshold ? options.offload_threshold
			  : ring->connected         ? client->connection.welcome.offload_threshold
						    : SIZE_MAX;
	pthread_mutex_unlock(&client->connection.talk);
	if (result) {
		ring_free(ring);
		return result;
	}
	pthread_mutex_lock(&client->connection.lock);
	activity_add(&ring->activity, &client->activities);
	LIST_INSERT_HEAD(&client->counters, &ring->counters, entry);
	pthread_mutex_unlock(&client->connection.lock);
	*out = ring;
	return 0;
}

void vdm_ring_close(struct vdm_ring *ring)
{
	if (!ring)
		return;
	WITHOUT_CANCELLATION;
	struct vdm_client *client = ring->client;

	if (fork_happened(ring->epoch)) {
		/* The child has neither the shared memory (MADV_DONTFORK) nor the workers. */
		if (client)
			ring->submission = NULL;
		ring_free(ring);
		return;
	}
	if (ring->queue)
		engine_queue_remove(ring->queue, NULL, NULL);
	if (client) {
		ring_reap(ring);
		pthread_mutex_lock(&client->connection.lock);
		activity_remove(&ring->activity);
		LIST_REMOVE(&ring->counters, entry);
		counters_add(&client->ended, &ring->counters);
		pthread_mutex_unlock(&client->connection.lock);
	}
	/* Even after a hang-up: the connection knows whether the daemon has gone. */
	if (ring->connection) {
		struct vdm_message_ring_destroy request = destroy_request(ring->id);

		connection_let_go(&client->connection, ring->connection, &request.header,
				  ring_in_flight(ring) > ring->taken_back);
	}
	ring_free(ring);
}
