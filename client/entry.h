/* SPDX-License-Identifier: BSD-3-Clause */
/* Submission entries: what they ask for, by the table of operations. */
#ifndef VDM_CLIENT_ENTRY_H
#define VDM_CLIENT_ENTRY_H

#include <errno.h>
#include <stdbool.h>

#include "libvdm/ring.h"
#include "op/opcodes.h"

#define ENTRY_VALID_FLAGS (VDM_SQE_FENCE | VDM_SQE_LINK | VDM_SQE_NO_CACHE | VDM_SQE_DURABLE)

static_assert((int)VDM_OP_NOP == VDM_OPCODE_NOP && (int)VDM_OP_MEMCPY == VDM_OPCODE_MEMCPY &&
		      (int)VDM_OP_MEMMOVE == VDM_OPCODE_MEMMOVE &&
		      (int)VDM_OP_MEMSET == VDM_OPCODE_MEMSET &&
		      (int)VDM_OP_FLUSH == VDM_OPCODE_FLUSH,
	      "opcodes pass through unchanged");
static_assert(VDM_SQE_FENCE == VDM_DESCRIPTOR_FENCE && VDM_SQE_LINK == VDM_DESCRIPTOR_LINK &&
		      VDM_SQE_NO_CACHE == VDM_DESCRIPTOR_NO_CACHE &&
		      VDM_SQE_DURABLE == VDM_DESCRIPTOR_DURABLE,
	      "flags pass through unchanged");

static inline unsigned entry_facts(const struct vdm_sqe *sqe)
{
	return opcode_facts[sqe->opcode];
}

/* The first four bytes of an entry, which are those of its descriptor too: opcode, a zero, and
 * flags. */
static inline uint32_t entry_head(const struct vdm_sqe *sqe)
{
	uint32_t head;

	memcpy(&head, sqe, sizeof head);
	return head;
}
static_assert(offsetof(struct vdm_sqe, opcode) == offsetof(struct vdm_descriptor, opcode) &&
		      offsetof(struct vdm_sqe, reserved0) ==
			      offsetof(struct vdm_descriptor, priority) &&
		      offsetof(struct vdm_sqe, flags) == offsetof(struct vdm_descriptor, flags),
	      "an entry and a descriptor begin alike");

/* Begins after all earlier operations of the ring have completed. */
static inline bool entry_is_ordered(const struct vdm_sqe *sqe)
{
	return (sqe->flags & VDM_SQE_FENCE) || (entry_facts(sqe) & OP_ORDERED);
}

/* Bytes that it stores. */
static inline uint64_t entry_bytes(const struct vdm_sqe *sqe)
{
	return entry_facts(sqe) & OP_WRITES ? sqe->length : 0;
}

/* 0 or -EINVAL. */
static inline int entry_check(const struct vdm_sqe *sqe)
{
	const unsigned facts = entry_facts(sqe);

	if (facts == 0 || (sqe->flags & ~ENTRY_VALID_FLAGS) || sqe->reserved0 ||
	    (sqe->reserved[0] | sqe->reserved[1] | sqe->reserved[2]) != 0)
		return -EINVAL;
	if ((facts & OP_PATTERN) && sqe->value > UINT8_MAX)
		return -EINVAL;
	return 0;
}

/* The same for an entry that concerns memory alone, which is never durable: -EOPNOTSUPP. */
static inline int entry_check_memory(const struct vdm_sqe *sqe)
{
	const int result = entry_check(sqe);

	return !result && (sqe->flags & VDM_SQE_DURABLE) ? -EOPNOTSUPP : result;
}

/* Whether the entry is neither ordered nor linked to the next one, and is valid but perhaps for its
 * pattern. */
static inline bool entry_is_plain(const struct vdm_sqe *sqe)
{
	static const struct vdm_sqe special = {.reserved0 = UINT8_MAX,
					       .flags = (uint16_t)~VDM_SQE_NO_CACHE};

	return !(entry_head(sqe) & entry_head(&special)) &&
	       !(sqe->reserved[0] | sqe->reserved[1] | sqe->reserved[2]) &&
	       (entry_facts(sqe) & (OP_KNOWN | OP_ORDERED)) == OP_KNOWN;
}

/* Carry out an entry that is valid. */
void entry_run(const struct vdm_sqe *sqe);

#endif
