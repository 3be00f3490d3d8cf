/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory that a client's ring shares with the daemon, to which the library has no function. */
#ifndef TEST_RING_MEMORY_H
#define TEST_RING_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include <libvdm.h>

struct ring_memory {
	struct ring_file {
		char *memory;
		size_t size;
	} submission, completion;
};

/* A ring of so many entries, of that priority; stores where its two files are mapped. */
struct vdm_ring *ring_opened_in(struct vdm_client *client, unsigned entries, int priority,
				struct ring_memory *shared);

/* Whether the daemon looks at the ring, so that no doorbell is needed. */
bool ring_is_polled(const struct ring_memory *shared);

#endif
