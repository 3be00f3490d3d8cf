/* SPDX-License-Identifier: BSD-3-Clause */
/* Carrying an operation out on this CPU. Inline: a call costs as much as a small operation. */
#ifndef VDM_OP_RUN_H
#define VDM_OP_RUN_H

#include "copy.h"
#include "fill.h"
#ifdef VDM_TEST_OPCODE
#include VDM_TEST_OPCODE
#endif

static inline void run_nothing(const struct operation *operation, size_t offset, size_t length,
			       const struct kernels *kernels, unsigned flags)
{
	(void)operation;
	(void)offset;
	(void)length;
	(void)kernels;
	(void)flags;
}

/* Carry out `length` bytes of it, from `offset` on. */
static inline void operation_run(const struct operation *operation, size_t offset, size_t length,
				 const struct kernels *kernels, unsigned kernel_flags)
{
	if (length == 0)
		return;
	switch (operation->opcode) {
#define RUN(code, run, facts)                                                                      \
	case code:                                                                                 \
		run(operation, offset, length, kernels, kernel_flags);                             \
		break;
		OPCODES(RUN)
#undef RUN
	}
}

#endif
