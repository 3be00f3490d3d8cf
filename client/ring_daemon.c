/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/barrier.h"
#include "error.h"
#include "ring.h"
#include "ring_flight.h"
#include "ring_signal.h"

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

/* Map a file of a ring, with all of its pages, which are charged to this process. Returns 0 or a
 * negative errno. */
static int map_file(int fd, size_t size, int protection, void **memory)
{
	void *mapped = mmap(NULL, size, protection, MAP_SHARED | MAP_POPULATE, fd, 0);
	struct stat status;

	if (mapped == MAP_FAILED)
		return -errno;
	/* mmap(2) does not say that it could not populate all of it */
	if (fstat(fd, &status) < 0 || (size_t)status.st_blocks * 512 < size) {
		munmap(mapped, size);
		return -ENOMEM;
	}
	/* A child that wrote to its parent's ring would be a second producer, so it does not get
	 * the memory. */
	madvise(mapped, size, MADV_DONTFORK);
	*memory = mapped;
	return 0;
}

/* Do this side's part for a ring that the daemon has made, and tell the daemon. */
static int start(const struct vdm_ring *ring, void *submission, int submission_fd)
{
	const struct vdm_message_ring_start message = {
		.header = {VDM_MESSAGE_RING_START, sizeof message},
		.ring = ring->id,
	};

	vdm_submission_prepare(submission, ring->entries, ring->sq_position);
	if (fcntl(submission_fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0)
		return -errno;
	return connection_tell(&ring->client->connection, &message.header);
}

/* Map and start a ring that the daemon has made. Returns 0; or a negative errno, and nothing is
 * mapped. */
static int map_and_start(struct vdm_ring *ring, const int fds[VDM_RING_FD_COUNT])
{
	const size_t submission_size = vdm_submission_size(ring->entries);
	const size_t completion_size = vdm_completion_size(ring->entries);
	void *submission = NULL, *completion = NULL;
	int result = map_file(fds[VDM_RING_FD_SUBMISSION], submission_size, PROT_READ | PROT_WRITE,
			      &submission);

	if (!result)
		result = map_file(fds[VDM_RING_FD_COMPLETION], completion_size, PROT_READ,
				  &completion);
	if (!result)
		result = start(ring, submission, fds[VDM_RING_FD_SUBMISSION]);
	if (!result) {
		ring_attach(ring, submission, completion);
		return 0;
	}
	if (completion)
		munmap(completion, completion_size);
	if (submission)
		munmap(submission, submission_size);
	return result;
}

/* Have the daemon make and serve a ring. The caller holds the connection's `talk`. */
static int ring_create(struct vdm_ring *ring)
{
	struct vdm_message_ring_create request = {
		.header = {VDM_MESSAGE_RING_CREATE, sizeof request},
		.entries = ring->entries,
		.first_sequence = ring->sq_position,
		.priority = ring->priority,
	};
	struct vdm_packet reply = {0};

	if (ring->client->connection.state != CONNECTION_OPEN)
		return -ENOTCONN;

	int result = connection_request(&ring->client->connection, &request.header, NULL, 0,
					VDM_MESSAGE_RING_CREATED, VDM_RING_FD_COUNT, &reply);

	/* the daemon has made a ring, but its descriptors did not arrive */
	if (result == -EMFILE && reply.truncated)
		destroy_unused(ring->client, reply.message.ring_created.ring);
	if (result)
		return result;
	ring->id = reply.message.ring_created.ring;
	result = map_and_start(ring, reply.fds);
	if (result) {
		vdm_packet_close(&reply);
		destroy_unused(ring->client, ring->id);
		return result == -ENOTCONN ? result
					   : fail(result, "cannot map and start the ring: %s",
						  strerror(-result));
	}
	ring_set_doorbell(ring, vdm_packet_take(&reply, VDM_RING_FD_DOORBELL));
	ring->event_fd = vdm_packet_take(&reply, VDM_RING_FD_EVENT);
	vdm_packet_close(&reply);
	ring->takes_back = ring->client->connection.welcome.features & VDM_FEATURE_TAKE_BACK;
	ring->asymmetric = (ring->client->connection.welcome.features & VDM_FEATURE_BARRIER) &&
			   barrier_register();
	ring->connection = ring->client->connection.number;
	return 0;
}

/* Of the daemon that has gone. */
static void forget_daemon(struct vdm_ring *ring)
{
	if (ring->submission) {
		munmap(ring->submission, vdm_submission_size(ring->entries));
		munmap(ring->completion, vdm_completion_size(ring->entries));
	}
	if (ring->doorbell_fd >= 0)
		close(ring->doorbell_fd);
	if (ring->event_fd >= 0)
		close(ring->event_fd);
	ring->submission = ring->completion = NULL;
	ring->doorbell_fd = ring->event_fd = -1;
	ring->rung = ring->arms = 0;
	ring->eager_waits = 0;
	ring->eager_until = 0;
	region_view_forget(&ring->view); /* it has that daemon's numbers */
	if (!vdm_ring_first_sequence_valid(ring->sq_position))
		ring->sq_position = ring->cq_position = ring->ordered = ring->sq_position - 1;
}

int ring_daemon_renew(struct vdm_ring *ring)
{
	struct epoll_event event = {.events = EPOLLIN};
	int result;

	if (ring->connection == ring->client->connection.number)
		destroy_unused(ring->client, ring->id); /* this ring alone has hung up */
	ring->connection = 0;
	forget_daemon(ring);
	result = ring_create(ring);
	if (!result && ring->poll_fd >= 0 &&
	    epoll_ctl(ring->poll_fd, EPOLL_CTL_ADD, ring->event_fd, &event) < 0) {
		result = -errno;
		ring->connected = false;
		ring->connection = 0;
		destroy_unused(ring->client, ring->id);
		return result;
	}
	if (!result && ring->armed) {
		ring->armed_at = ring->cq_position;
		ring_arm(ring, ring->cq_position + 1);
	}
	if (!result && !ring->threshold_given)
		ring->threshold = ring->client->connection.welcome.offload_threshold;
	return result;
}

int ring_daemon_open(struct vdm_client *client, const struct vdm_options *options,
		     struct vdm_ring **out)
{
	struct vdm_ring *ring = ring_new(client, options->entries, options->first_sequence);
	int result;

	if (!ring)
		return fail(-ENOMEM, "out of memory");
	ring->spin_us = options->spin_us;
	ring->priority = options->priority;
	pthread_mutex_lock(&client->connection.talk);
	result = ring_create(ring);
	if (result == -ENOTCONN)
		result = 0; /* the local lane serves */
	ring->threshold_given = options->offload_threshold;
	ring->threshold = options->offload_threshold ? options->offload_threshold
			  : ring->connected          ? client->connection.welcome.offload_threshold
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

void ring_daemon_close(struct vdm_ring *ring)
{
	struct vdm_client *client = ring->client;

	ring_reap(ring);
	pthread_mutex_lock(&client->connection.lock);
	activity_remove(&ring->activity);
	LIST_REMOVE(&ring->counters, entry);
	counters_add(&client->ended, &ring->counters);
	pthread_mutex_unlock(&client->connection.lock);
	/* Even after a hang-up: the connection knows whether the daemon has gone. */
	if (ring->connection) {
		struct vdm_message_ring_destroy request = destroy_request(ring->id);

		connection_let_go(&client->connection, ring->connection, &request.header,
				  ring_in_flight(ring) > ring->taken_back);
	}
	ring_free(ring);
}
