/* SPDX-License-Identifier: BSD-3-Clause */
#include "entry.h"

#include "op/run.h"

void entry_run(const struct vdm_sqe *sqe)
{
	const struct kernels *kernels = kernels_default();
	const struct operation operation = {
		.destination = sqe->dest,
		.source = entry_facts(sqe) & OP_SOURCE ? sqe->src : NULL,
		.length = sqe->length,
		.flags = sqe->flags,
		.opcode = sqe->opcode,
		.facts = (uint8_t)entry_facts(sqe),
		.fill = (uint8_t)sqe->value,
	};

	operation_run(&operation, 0, operation.length, kernels,
		      operation_kernel_flags(&operation, kernels));
}
