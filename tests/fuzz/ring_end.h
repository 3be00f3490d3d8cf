/* SPDX-License-Identifier: BSD-3-Clause */
/* A ring that the fuzzed process has made, as its client has it. */
#ifndef TEST_FUZZ_RING_END_H
#define TEST_FUZZ_RING_END_H

#include "boundary.h"
#include "tests/start_ring.h"

/* The last ring that was made for it. */
struct ring_end {
	uint32_t entries, position;
	void *submission; /* NULL: there is none */
	int doorbell;
};

static struct ring_end ring;

static inline void close_ring(void)
{
	if (!ring.submission)
		return;
	munmap(ring.submission, vdm_submission_size(ring.entries));
	close(ring.doorbell);
	ring.submission = NULL;
}

/* The client's part for a ring, which a later message may start: all of it, or half. */
static inline void prepare_ring(const struct vdm_message_ring_created *created, const int *fds)
{
	const size_t size = vdm_completion_size(created->entries);

	close_ring();
	ring = (struct ring_end){
		.entries = created->entries,
		.position = created->first_sequence,
		.submission = map_populated(fds[VDM_RING_FD_SUBMISSION],
					    vdm_submission_size(created->entries),
					    PROT_READ | PROT_WRITE),
		.doorbell = fcntl(fds[VDM_RING_FD_DOORBELL], F_DUPFD_CLOEXEC, 0),
	};
	REQUIRE(ring.submission != MAP_FAILED && ring.doorbell >= 0);
	vdm_submission_prepare(ring.submission, created->entries, created->first_sequence);
	REQUIRE(seal_submission(fds[VDM_RING_FD_SUBMISSION]) == 0);
	if (created->first_sequence % 2)
		return;
	void *completion = map_populated(fds[VDM_RING_FD_COMPLETION], size, PROT_READ);

	REQUIRE(completion != MAP_FAILED);
	munmap(completion, size);
}

/* The client submits any descriptor: in the entry that is next, or anything in its file. */
static inline void submit(struct input *input)
{
	const uint8_t how = take_byte(input);
	char *base = ring.submission;
	struct vdm_descriptor descriptor;

	if (!base)
		return;
	if (how & 128) {
		char bytes[64];
		size_t offset = (how & 64 ? VDM_RING_ENTRIES_OFFSET : 0) + how % 64;

		memcpy(base + offset, bytes, take_bytes(input, bytes, sizeof bytes));
	} else {
		struct vdm_descriptor *entry =
			(struct vdm_descriptor *)(base + VDM_RING_ENTRIES_OFFSET) +
			(ring.position & (ring.entries - 1));

		take_bytes(input, &descriptor, sizeof descriptor);
		memcpy(entry, &descriptor, offsetof(struct vdm_descriptor, sequence));
		/* release; partner: the consumer's acquire */
		atomic_store_explicit(&entry->sequence, ++ring.position, memory_order_release);
	}
	send_anything(ring.doorbell, "doorbell", 8, -1, 0);
}

static inline void ring_doorbell(struct input *input)
{
	const uint8_t how = take_byte(input);

	for (unsigned i = 0; ring.submission && i < how / 32 + 1u; i++)
		send_anything(ring.doorbell, "doorbell", how & 16 ? 8 : how & 8, ring.doorbell,
			      passed_count(how));
}

#endif
