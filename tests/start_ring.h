/* SPDX-License-Identifier: BSD-3-Clause */
/* The steps by which a client starts a ring that the daemon has made: a test may leave some out. */
#ifndef VDM_TESTS_START_RING_H
#define VDM_TESTS_START_RING_H

#include <fcntl.h>
#include <sys/mman.h>

#include "proto/control.h"
#include "proto/ring.h"

/* Map a file of a ring, with all of its pages. Returns MAP_FAILED if that fails. */
static inline void *map_populated(int fd, size_t size, int protection)
{
	return mmap(NULL, size, protection, MAP_SHARED | MAP_POPULATE, fd, 0);
}

/* Returns 0, or -1 with errno. */
static inline int seal_submission(int fd)
{
	return fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
}

static inline struct vdm_message_ring_start ring_start(uint32_t ring)
{
	return (struct vdm_message_ring_start){
		.header = {VDM_MESSAGE_RING_START, sizeof(struct vdm_message_ring_start)},
		.ring = ring};
}

#endif
