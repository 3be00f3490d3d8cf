/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a descriptor in shared memory to an operation in private memory. Nothing else in the engine
 * looks at a descriptor: what is validated here is what is executed.
 */
#ifndef VDM_ENGINE_OPERATION_H
#define VDM_ENGINE_OPERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"
#include "proto/ring.h"

struct operation {
	char *destination;
	const char *source;
	size_t length;
	uint64_t user_data;
	uint32_t position;           /* in the ring */
	uint32_t destination_region; /* so that a region's removal finds who uses it */
	uint32_t source_region;
	uint16_t flags;              /* enum vdm_descriptor_flags */
	uint8_t opcode;
	uint8_t fill;                /* memset */
	bool waits;                  /* begins after all earlier operations have completed */
	bool taken_back;             /* the producer does it himself */
	bool linked;                 /* follows an operation that had VDM_DESCRIPTOR_LINK */
	int32_t error;               /* refused: a negative errno; else 0 */
};

enum descriptor_state {
	DESCRIPTOR_EMPTY,     /* not written yet */
	DESCRIPTOR_READY,     /* may be fetched */
	DESCRIPTOR_IMPOSSIBLE /* holds a sequence number that no honest producer writes */
};

/* The state of the slot for `position`. A hint until the descriptor is fetched. */
enum descriptor_state descriptor_state(const struct vdm_descriptor *slot, uint32_t position,
				       uint32_t entries);

/* Copy a descriptor out of shared memory, each of its words read exactly once. */
void descriptor_fetch(const struct vdm_descriptor *slot, struct vdm_descriptor *copy);

/*
 * Check a private copy and resolve it against the regions of `space`. What is wrong with it is stored
 * in operation->error: -EINVAL malformed, -EOPNOTSUPP a feature that was not agreed, -EFAULT outside
 * of a region or no such region, -EACCES the region is read-only.
 */
void operation_resolve(struct operation *operation, const struct vdm_descriptor *copy,
		       uint32_t position, const struct engine_space *space);

/* Whether the ranges of a copy overlap, so that it cannot be cut into independent pieces. */
bool operation_overlaps(const struct operation *operation);

/*
 * What to tell the kernels: that a piece belongs to an operation too large for the cache is known here
 * only.
 */
unsigned operation_kernel_flags(const struct operation *operation, const struct kernels *kernels);

/* Execute `length` bytes from `offset` on. */
void operation_run(const struct operation *operation, size_t offset, size_t length,
		   const struct kernels *kernels, unsigned kernel_flags);

#endif
