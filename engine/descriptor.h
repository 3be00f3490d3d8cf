/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a descriptor in shared memory to an operation in private memory. Nothing else in the engine
 * looks at a descriptor: what is validated here is what is executed.
 */
#ifndef VDM_ENGINE_DESCRIPTOR_H
#define VDM_ENGINE_DESCRIPTOR_H

#include "op/operation.h"

struct engine_memory;

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
 * Check a private copy and resolve it against the regions of `memory`. Returns 0, or what is wrong
 * with it: an error of operation_check(), -EFAULT outside of a region or no such region, -EACCES
 * the region is read-only. The operation is stored either way, with a length of 0 if it is refused;
 * all but `error`.
 */
int descriptor_resolve(const struct vdm_descriptor *copy, uint32_t position,
		       const struct engine_memory *memory, struct operation *operation);

#endif
