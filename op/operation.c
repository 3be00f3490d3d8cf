/* SPDX-License-Identifier: BSD-3-Clause */
#include "operation.h"

#include <errno.h>

const uint8_t opcode_facts[UINT8_MAX + 1] = {
#define FACTS(opcode, run, facts) [opcode] = OP_KNOWN | (facts),
	OPCODES(FACTS)
#undef FACTS
};

/* All but the flags. */
static inline int check_fields(const struct vdm_descriptor *d, unsigned facts)
{
	if (!(facts & OP_SOURCE) && (d->source_region | d->source_offset))
		return -EINVAL;
	if (d->pattern && (d->pattern > UINT8_MAX || !(facts & OP_PATTERN)))
		return -EINVAL;
	if (!(facts & OP_DESTINATION) &&
	    (d->destination_region | d->destination_offset | d->length))
		return -EINVAL;
	return 0;
}

int operation_check(const struct vdm_descriptor *d)
{
	const unsigned facts = opcode_facts[d->opcode];

	/* all at once: mostly there is nothing wrong */
	if (facts == 0 || d->priority | d->reserved0 | d->reserved1)
		return -EINVAL;
	if (d->flags & ~(VDM_DESCRIPTOR_VALID_FLAGS & ~VDM_DESCRIPTOR_DURABLE))
		return d->flags & ~VDM_DESCRIPTOR_VALID_FLAGS || check_fields(d, facts)
			       ? -EINVAL
			       : -EOPNOTSUPP;
	return check_fields(d, facts);
}

unsigned operation_kernel_flags(const struct operation *operation, const struct kernels *kernels)
{
	if (operation->flags & VDM_DESCRIPTOR_NO_CACHE)
		return KERNEL_NO_CACHE;
	if (operation->length < KERNEL_STREAMING_MINIMUM || kernels->own)
		return 0;
	return operation->length >= kernels_streaming_threshold() ? KERNEL_NO_CACHE : 0;
}
