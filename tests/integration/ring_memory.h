/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory that a client's ring shares with the daemon, which the library shows nobody. */
#ifndef TEST_RING_MEMORY_H
#define TEST_RING_MEMORY_H

#include <stddef.h>

#include <libvdm.h>

struct ring_memory {
	struct ring_file {
		char *memory;
		size_t size;
	} submission, completion;
};

/* As ring_opened(), with the default sequence; stores where its two files are mapped. */
struct vdm_ring *ring_opened_in(struct vdm_client *client, unsigned entries,
				struct ring_memory *shared);

#endif
