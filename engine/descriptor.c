/* SPDX-License-Identifier: BSD-3-Clause */
#include "descriptor.h"

#include <errno.h>

#include "memory.h"

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

	/* relaxed: ordered by the acquire of descriptor_state(). Atomic, so that the compiler can
	 * neither read a word twice nor come back for it later, whatever the producer is doing to
	 * it. A line each, since compilers do not unroll loops of atomic accesses. */
	to[0] = __atomic_load_n(&from[0], __ATOMIC_RELAXED);
	to[1] = __atomic_load_n(&from[1], __ATOMIC_RELAXED);
	to[2] = __atomic_load_n(&from[2], __ATOMIC_RELAXED);
	to[3] = __atomic_load_n(&from[3], __ATOMIC_RELAXED);
	to[4] = __atomic_load_n(&from[4], __ATOMIC_RELAXED);
	to[5] = __atomic_load_n(&from[5], __ATOMIC_RELAXED);
	to[6] = __atomic_load_n(&from[6], __ATOMIC_RELAXED);
	to[7] = __atomic_load_n(&from[7], __ATOMIC_RELAXED);
}

/* The ranges that it names: their addresses, and their length. */
static int resolve_ranges(const struct vdm_descriptor *d, const struct engine_memory *memory,
			  struct operation *operation)
{
	const unsigned facts = operation->facts;
	char *address;
	int result = memory_resolve(memory, d->destination_region, d->destination_offset, d->length,
				    facts & OP_WRITES, &address);

	if (result)
		return result;
	operation->destination = address;
	if (!(facts & OP_SOURCE))
		return 0;
	result = memory_resolve(memory, d->source_region, d->source_offset, d->length, false,
				&address);
	if (!result)
		operation->source = address;
	return result;
}

static bool names_range(const struct vdm_descriptor *d, unsigned facts)
{
	return !(facts & OP_RANGE_OPTIONAL) || (d->destination_region | d->length);
}

int descriptor_resolve(const struct vdm_descriptor *d, uint32_t position,
		       const struct engine_memory *memory, struct operation *operation)
{
	const unsigned facts = opcode_facts[d->opcode];

	operation->destination = NULL;
	operation->source = NULL;
	operation->length = 0;
	operation->user_data = d->user_data;
	operation->position = position;
	operation->destination_region = d->destination_region;
	operation->source_region = d->source_region;
	operation->flags = d->flags;
	operation->opcode = d->opcode;
	operation->fill = (uint8_t)d->pattern;
	operation->facts = (uint8_t)facts;
	operation->taken_back = false;
	operation->linked = false;

	int result = operation_check(d);

	if (result == -EOPNOTSUPP && memory->has_backend)
		result = 0; /* it decides */
	if (result || !(facts & OP_DESTINATION) || !names_range(d, facts))
		return result;
	result = resolve_ranges(d, memory, operation);
	if (!result)
		operation->length = d->length;
	return result;
}
