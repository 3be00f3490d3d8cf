/* SPDX-License-Identifier: BSD-3-Clause */
/* Life of a ring, and what its caller gets from and gives back to it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cancellation.h"
#include "base/barrier.h"
#include "error.h"
#include "fork.h"
#include "proto/submission.h"
#include "ring_internal.h"

static void ring_free(struct vdm_ring *ring)
{
	/* The memory of a ring within this process is allocated, a daemon's is mapped. */
	if (!ring->client) {
		free(ring->submission);
		free(ring->completion);
	} else if (ring->submission) {
		munmap(ring->submission, vdm_submission_size(ring->entries));
		munmap(ring->completion, vdm_completion_size(ring->entries));
	}

	int fds[] = {ring->doorbell_fd, ring->event_fd, ring->poll_fd, ring->self_fd, ring->signal_fd};

	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free(ring->view.extents);
	free(ring->pending);
	free(ring->sqes);
	free(ring->cqes);
	free(ring);
}

static struct vdm_ring *ring_new(uint32_t entries, uint32_t first_sequence)
{
	struct vdm_ring *ring = calloc(1, sizeof *ring);

	if (!ring)
		return NULL;
	ring->epoch = fork_epoch();
	ring->entries = entries;
	ring->number = first_sequence;
	ring->sq_position = first_sequence;
	ring->cq_position = first_sequence;
	ring->ordered = first_sequence;
	ring->doorbell_fd = ring->event_fd = ring->poll_fd = ring->self_fd = ring->signal_fd = -1;
	ring->pending = calloc(entries, sizeof *ring->pending);
	ring->sqes = calloc(entries, sizeof *ring->sqes);
	ring->cqes = calloc(entries, sizeof *ring->cqes);
	if (!ring->epoch || !ring->pending || !ring->sqes || !ring->cqes) {
		ring_free(ring);
		return NULL;
	}
	for (uint32_t i = 0; i < entries; i++)
		ring->pending[i].next = i + 1;
	return ring;
}

static void ring_attach(struct vdm_ring *ring, void *submission, void *completion)
{
	ring->submission = submission;
	ring->completion = completion;
	ring->descriptors = vdm_descriptors(submission);
	ring->completions = vdm_completions(completion);
	ring->client_line = submission;
	ring->daemon_line = completion;
	ring->connected = true;
}

static struct vdm_message_ring_destroy destroy_request(uint32_t id)
{
	return (struct vdm_message_ring_destroy){
		.header = {VDM_MESSAGE_RING_DESTROY, sizeof(struct vdm_message_ring_destroy)},
		.ring = id,
	};
}

/* Give back a ring that has not been used. With the client's `talk` held. */
static void ring_uncreate(struct vdm_client *client, uint32_t id)
{
	struct vdm_message_ring_destroy request = destroy_request(id);
	struct vdm_packet reply;

	connection_request(client, &request.header, NULL, 0, VDM_MESSAGE_DONE, 0, &reply);
}

/* Have the daemon serve a ring, and map its part of it. With the client's `talk` held. */
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

	if (ring->client->connection_state != CONNECTION_OPEN)
		return -ENOTCONN;

	int fd = vdm_submission_make(ring->entries, ring->sq_position, &submission);

	if (fd < 0)
		return fail(fd, "cannot make the memory of a ring: %s", strerror(-fd));

	int result = connection_request(ring->client, &request.header, &fd, 1, VDM_MESSAGE_RING_CREATED,
				    VDM_RING_FD_COUNT, &reply);

	close(fd);
	/* there is a ring, but its descriptors did not get here */
	if (result == -EMFILE && reply.truncated)
		ring_uncreate(ring->client, reply.message.ring_created.ring);
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
		ring_uncreate(ring->client, reply.message.ring_created.ring);
		return fail(result, "cannot map the ring: %s", strerror(-result));
	}
	/* A child that wrote to its parent's ring would be a second producer: it does not get the memory. */
	madvise(submission, vdm_submission_size(ring->entries), MADV_DONTFORK);
	madvise(completion, vdm_completion_size(ring->entries), MADV_DONTFORK);
	ring->id = reply.message.ring_created.ring;
	ring->doorbell_fd = vdm_packet_take(&reply, VDM_RING_FD_DOORBELL);
	ring->event_fd = vdm_packet_take(&reply, VDM_RING_FD_EVENT);
	vdm_packet_close(&reply);
	ring_attach(ring, submission, completion);
	ring->takes_back = ring->client->welcome.features & VDM_FEATURE_TAKE_BACK;
	ring->asymmetric = (ring->client->welcome.features & VDM_FEATURE_BARRIER) && barrier_register();
	ring->connection = ring->client->connections;
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

	struct vdm_ring *ring = ring_new(options.entries, options.first_sequence);

	if (!ring)
		return fail(-ENOMEM, "out of memory");
	ring->client = client;
	ring->spin_us = options.spin_us;

	connection_renew(client);
	pthread_mutex_lock(&client->talk);
	result = ring_create(ring, options.priority);
	if (result == -ENOTCONN)
		result = 0; /* the local lane serves */
	ring->threshold = options.offload_threshold ? options.offload_threshold
			  : ring->connected	    ? client->welcome.offload_threshold
						    : SIZE_MAX;
	pthread_mutex_unlock(&client->talk);
	if (result) {
		ring_free(ring);
		return result;
	}
	pthread_mutex_lock(&client->lock);
	LIST_INSERT_HEAD(&client->rings, ring, entry);
	pthread_mutex_unlock(&client->lock);
	*out = ring;
	return 0;
}

static void broken_inprocess(void *context, const char *reason)
{
	(void)context;
	(void)reason;
	abort(); /* both sides are ours, in one process: memory has been overwritten */
}

static void *ring_memory(size_t size)
{
	void *memory = aligned_alloc(VDM_RING_ENTRIES_OFFSET, (size + VDM_RING_ENTRIES_OFFSET - 1) &
								      ~(size_t)(VDM_RING_ENTRIES_OFFSET - 1));

	if (memory)
		memset(memory, 0, size);
	return memory;
}

int ring_open_inprocess(struct engine *engine, struct engine_account *account,
			struct engine_memory *memory, uint32_t entries, uint32_t spin_us,
			struct vdm_ring **out)
{
	struct vdm_ring *ring = ring_new(entries, 0);

	if (!ring)
		return fail(-ENOMEM, "out of memory");

	void *submission = ring_memory(vdm_submission_size(entries));
	void *completion = ring_memory(vdm_completion_size(entries));
	int pair[2] = {-1, -1};
	int result = submission && completion ? 0 : -ENOMEM;

	ring->submission = submission;
	ring->completion = completion;
	ring->spin_us = spin_us;
	ring->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!result && (ring->doorbell_fd < 0 ||
			socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0))
		result = -errno;
	ring->event_fd = pair[0];
	ring->signal_fd = pair[1];
	if (!result) {
		vdm_submission_prepare(submission, entries, 0);
		vdm_completion_prepare(completion, entries, 0);
		ring_attach(ring, submission, completion);
		ring->asymmetric = barrier_is_asymmetric() && barrier_register();

		struct engine_queue_options options = {
			.account = account,
			.memory = memory,
			.submission = submission,
			.completion = completion,
			.entries = entries,
			.doorbell_fd = ring->doorbell_fd,
			.signal_fd = ring->signal_fd,
			.violated = broken_inprocess,
		};

		result = engine_queue_add(engine, &options, &ring->queue);
	}
	if (result) {
		ring_free(ring);
		return fail(result, "cannot open a ring within the process: %s", strerror(-result));
	}
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
		/* MADV_DONTFORK: there is nothing of the shared memory to unmap here; and no worker left */
		if (client)
			ring->submission = NULL;
		ring_free(ring);
		return;
	}
	if (ring->queue)
		engine_queue_remove(ring->queue, NULL, NULL);
	if (client) {
		ring_reap(ring);
		pthread_mutex_lock(&client->lock);
		LIST_REMOVE(ring, entry);
		counters_add(&client->ended, &ring->counters);
		pthread_mutex_unlock(&client->lock);
	}
	if (ring->connection) { /* also one that has been hung up on: the connection tells whether the daemon has gone */
		struct vdm_message_ring_destroy request = destroy_request(ring->id);

		connection_let_go(client, ring->connection, &request.header, ring_in_flight(ring) > ring->taken_back);
	}
	ring_free(ring);
}

const struct ring_counters *ring_counters(const struct vdm_ring *ring)
{
	return &ring->counters;
}

unsigned vdm_ring_entries(const struct vdm_ring *ring)
{
	return ring->entries;
}

unsigned vdm_ring_space_left(const struct vdm_ring *ring)
{
	return fork_happened(ring->epoch) ? 0 : ring->entries - ring->used;
}

struct vdm_sqe *vdm_ring_get_sqe(struct vdm_ring *ring)
{
	if (ring->used == ring->entries || fork_happened(ring->epoch))
		return NULL;
	ring->used++;

	struct vdm_sqe *sqe = &ring->sqes[ring->got++ & (ring->entries - 1)];

	*sqe = (struct vdm_sqe){0};
	return sqe;
}

void vdm_ring_cq_advance(struct vdm_ring *ring, unsigned count)
{
	if (count > ring_unseen(ring))
		count = ring_unseen(ring); /* what has not come cannot have been seen */
	ring->cqe_head += count;
	ring->used -= count;
}
