/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_inprocess.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/barrier.h"
#include "error.h"
#include "ring.h"

static void broken_inprocess(void *context, const char *reason)
{
	(void)context;
	(void)reason;
	abort(); /* both sides are this process: its memory has been overwritten */
}

static void *ring_memory(size_t size)
{
	void *memory = aligned_alloc(VDM_RING_ENTRIES_OFFSET,
				     (size + VDM_RING_ENTRIES_OFFSET - 1) &
					     ~(size_t)(VDM_RING_ENTRIES_OFFSET - 1));

	if (memory)
		memset(memory, 0, size);
	return memory;
}

int ring_open_inprocess(struct engine *engine, struct engine_account *account,
			struct engine_memory *memory, uint32_t entries, uint32_t spin_us,
			struct vdm_ring **out)
{
	struct vdm_ring *ring = ring_new(NULL, entries, 0);

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
