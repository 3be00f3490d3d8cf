/* SPDX-License-Identifier: BSD-3-Clause */
#include "operation.h"

#include <errno.h>
#include <string.h>

#include "space.h"

enum descriptor_state descriptor_state(const struct vdm_descriptor *slot, uint32_t position,
				       uint32_t entries)
{
	/* acquire; partner: the client's publish(), release */
	uint32_t sequence = atomic_load_explicit(&slot->sequence, memory_order_acquire);

	if (sequence == position + 1)
		return DESCRIPTOR_READY;
	return sequence == position + 1 - entries ? DESCRIPTOR_EMPTY : DESCRIPTOR_IMPOSSIBLE;
}

void descriptor_fetch(const struct vdm_descriptor *slot, struct vdm_descriptor *copy)
{
	const uint64_t *from = (const uint64_t *)slot;
	uint64_t *to = (uint64_t *)copy;

	/* relaxed: ordered by the acquire of descriptor_state(). Atomic, so that the compiler can neither
	 * read a word twice nor come back for it later, whatever the producer is doing to it. A line each,
	 * since compilers do not unroll loops of atomic accesses. */
	to[0] = __atomic_load_n(&from[0], __ATOMIC_RELAXED);
	to[1] = __atomic_load_n(&from[1], __ATOMIC_RELAXED);
	to[2] = __atomic_load_n(&from[2], __ATOMIC_RELAXED);
	to[3] = __atomic_load_n(&from[3], __ATOMIC_RELAXED);
	to[4] = __atomic_load_n(&from[4], __ATOMIC_RELAXED);
	to[5] = __atomic_load_n(&from[5], __ATOMIC_RELAXED);
	to[6] = __atomic_load_n(&from[6], __ATOMIC_RELAXED);
	to[7] = __atomic_load_n(&from[7], __ATOMIC_RELAXED);
}

static int check_form(const struct vdm_descriptor *d)
{
	if (d->opcode >= VDM_OPCODE_COUNT || (d->flags & ~VDM_DESCRIPTOR_VALID_FLAGS) ||
	    d->priority != 0 || d->reserved0 != 0 || d->reserved1 != 0)
		return -EINVAL;
	if (d->flags & VDM_DESCRIPTOR_DURABLE)
		return -EOPNOTSUPP;

	bool has_source = d->opcode == VDM_OPCODE_MEMCPY || d->opcode == VDM_OPCODE_MEMMOVE;

	if (!has_source && (d->source_region != 0 || d->source_offset != 0))
		return -EINVAL;
	if (d->pattern > (d->opcode == VDM_OPCODE_MEMSET ? UINT8_MAX : 0))
		return -EINVAL;
	if (d->opcode == VDM_OPCODE_NOP &&
	    (d->destination_region != 0 || d->destination_offset != 0 || d->length != 0))
		return -EINVAL;
	return 0;
}

void operation_resolve(struct operation *operation, const struct vdm_descriptor *d,
		       uint32_t position, const struct engine_space *space)
{
	operation->position = position;
	operation->user_data = d->user_data;
	operation->flags = d->flags;
	operation->opcode = d->opcode;
	operation->waits = (d->flags & VDM_DESCRIPTOR_FENCE) || d->opcode == VDM_OPCODE_FLUSH;
	operation->linked = false;
	operation->taken_back = false;
	operation->fill = (uint8_t)d->pattern;
	operation->destination = NULL;
	operation->source = NULL;
	operation->length = 0;
	operation->destination_region = d->destination_region;
	operation->source_region = d->source_region;

	operation->error = check_form(d);
	if (operation->error || d->opcode == VDM_OPCODE_NOP)
		return;
	if (d->opcode == VDM_OPCODE_FLUSH && d->destination_region == 0 && d->length == 0)
		return; /* order alone */

	bool writes = d->opcode != VDM_OPCODE_FLUSH;
	char *address;

	operation->error = space_resolve(space, d->destination_region, d->destination_offset,
					 d->length, writes, &address);
	if (operation->error)
		return;
	operation->destination = address;
	if (d->opcode == VDM_OPCODE_MEMCPY || d->opcode == VDM_OPCODE_MEMMOVE) {
		operation->error = space_resolve(space, d->source_region, d->source_offset, d->length,
						 false, &address);
		if (operation->error)
			return;
		operation->source = address;
	}
	operation->length = d->length;
}

bool operation_overlaps(const struct operation *operation)
{
	uintptr_t distance = (uintptr_t)operation->destination - (uintptr_t)operation->source;

	/* the subtraction may wrap, and is meant to */
	return operation->source && (distance < operation->length || -distance < operation->length);
}

unsigned operation_kernel_flags(const struct operation *operation, const struct kernels *kernels)
{
	if (operation->flags & VDM_DESCRIPTOR_NO_CACHE)
		return KERNEL_NO_CACHE;
	if (operation->length < KERNEL_STREAMING_MINIMUM || kernels->own)
		return 0;
	return operation->length >= kernels_streaming_threshold() ? KERNEL_NO_CACHE : 0;
}

void operation_run(const struct operation *operation, size_t offset, size_t length,
		   const struct kernels *kernels, unsigned kernel_flags)
{
	if (length == 0)
		return;
	switch (operation->opcode) {
	case VDM_OPCODE_MEMCPY:
		/* memcpy(3) of overlapping ranges is undefined; a daemon has no undefined operations */
		if (!operation_overlaps(operation)) {
			kernels->copy(operation->destination + offset, operation->source + offset,
				      length, kernel_flags);
			break;
		}
		/* fall through */
	case VDM_OPCODE_MEMMOVE:
		kernels->move(operation->destination + offset, operation->source + offset, length,
			      kernel_flags);
		break;
	case VDM_OPCODE_MEMSET:
		kernels->set(operation->destination + offset, operation->fill, length, kernel_flags);
		break;
	default: /* nop and flush move nothing */
		break;
	}
}
