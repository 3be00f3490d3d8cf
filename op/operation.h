/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An operation in private memory: checked, with addresses instead of regions and offsets. The
 * engine makes one of a descriptor, the client of what it carries out itself.
 */
#ifndef VDM_OP_OPERATION_H
#define VDM_OP_OPERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels.h"
#include "opcodes.h"

struct operation {
	char *destination;
	const char *source;
	size_t length;
	uint64_t user_data;
	uint32_t position;           /* in the ring */
	uint32_t destination_region; /* a region's removal looks for the operations that use it */
	uint32_t source_region;
	uint16_t flags; /* enum vdm_descriptor_flags */
	uint8_t opcode;
	uint8_t fill;    /* OP_PATTERN */
	uint8_t facts;   /* of its opcode; 0 if there is no such operation */
	bool taken_back; /* the producer carries it out itself */
	bool linked;     /* follows an operation that had VDM_DESCRIPTOR_LINK */
	int32_t error;   /* refused: a negative errno; else 0 */
};

/*
 * Check a private copy of a descriptor for what can be said without its regions: 0, -EINVAL if it
 * is malformed, or -EOPNOTSUPP if it has to be durable, and is valid otherwise.
 */
int operation_check(const struct vdm_descriptor *copy);

/* Bytes that it stores, which is the value of its completion. */
static inline uint64_t operation_value(const struct operation *operation)
{
	return operation->facts & OP_WRITES ? operation->length : 0;
}

/* Whether source and destination overlap, so that the pieces of a copy have to follow each
 * other. */
static inline bool operation_overlaps(const struct operation *operation)
{
	uintptr_t distance = (uintptr_t)operation->destination - (uintptr_t)operation->source;

	/* the subtraction may wrap, and is meant to */
	return operation->source && (distance < operation->length || -distance < operation->length);
}

/* Flags for the kernels. Only here is it known that a piece belongs to an operation too large for
 * the cache. */
unsigned operation_kernel_flags(const struct operation *operation, const struct kernels *kernels);

#endif
