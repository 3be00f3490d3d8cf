/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fork.h"

void ring_free(struct vdm_ring *ring)
{
	/* The memory of a ring within this process is allocated, a daemon's is mapped. */
	if (!ring->client) {
		free(ring->submission);
		free(ring->completion);
	} else if (ring->submission) {
		munmap(ring->submission, vdm_submission_size(ring->entries));
		munmap(ring->completion, vdm_completion_size(ring->entries));
	}

	int fds[] = {ring->doorbell_fd, ring->event_fd, ring->poll_fd, ring->self_fd,
		     ring->signal_fd};

	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	region_view_destroy(&ring->view);
	free(ring->pending);
	free(ring->slots);
	free(ring->spare);
	free(ring->cqes);
	free(ring);
}

struct vdm_ring *ring_new(struct vdm_client *client, uint32_t entries, uint32_t first_sequence)
{
	struct vdm_ring *ring = calloc(1, sizeof *ring);

	if (!ring)
		return NULL;
	ring->epoch = fork_epoch();
	ring->client = client;
	ring->entries = entries;
	ring->mask = entries - 1;
	region_view_init(&ring->view, client == NULL);
	ring->never_repeats = !client || (client->options.flags & VDM_OPTION_NO_RECOVERY);
	ring->got = ring->submitted = ring->dispatched = first_sequence;
	ring->cqe_head = ring->cqe_tail = first_sequence; /* as many as have been got before */
	ring->got_limit = first_sequence + entries;
	/* the ring itself may have to begin earlier */
	const uint32_t position = first_sequence - !vdm_ring_first_sequence_valid(first_sequence);

	ring->sq_position = ring->cq_position = ring->ordered = position;
	ring->doorbell_fd = ring->event_fd = ring->poll_fd = ring->self_fd = ring->signal_fd = -1;
	ring->pending = calloc(ring_indexes(ring), sizeof *ring->pending);
	ring->slots = calloc(entries, sizeof *ring->slots);
	ring->spare = calloc(entries, sizeof *ring->spare);
	ring->cqes = calloc(entries, sizeof *ring->cqes);
	if (!ring->epoch || !ring->pending || !ring->slots || !ring->spare || !ring->cqes) {
		ring_free(ring);
		return NULL;
	}
	for (uint32_t i = 0; i < entries; i++) {
		ring->slots[i] = &ring->pending[i];
		ring->spare[i] = &ring->pending[entries + i];
		ring->slots[i]->index = i;
		ring->spare[i]->index = entries + i;
	}
	ring->spare_count = entries;
	return ring;
}

void ring_attach(struct vdm_ring *ring, void *submission, void *completion)
{
	ring->submission = submission;
	ring->completion = completion;
	ring->descriptors = vdm_descriptors(submission);
	ring->completions = vdm_completions(completion);
	ring->client_line = submission;
	ring->daemon_line = completion;
	ring->connected = true;
}

unsigned vdm_ring_entries(const struct vdm_ring *ring)
{
	return ring->entries;
}

unsigned vdm_ring_space_left(const struct vdm_ring *ring)
{
	return fork_happened(ring->epoch) ? 0 : ring->got_limit - ring->got;
}

struct vdm_sqe *vdm_ring_get_sqe(struct vdm_ring *ring)
{
	const uint32_t got = ring->got;

	if (got == ring->got_limit || fork_happened(ring->epoch))
		return NULL;
	ring->got = got + 1;

	struct pending *pending = ring_pending(ring, got);

	pending->number = got;
	pending->sqe = (struct vdm_sqe){0};
	return &pending->sqe;
}

void vdm_ring_cq_advance(struct vdm_ring *ring, unsigned count)
{
	const uint32_t unseen = ring_unseen(ring);

	if (count > unseen)
		count = unseen; /* what has not come cannot have been seen */
	ring->cqe_head += count;
	ring->got_limit += count;
}
