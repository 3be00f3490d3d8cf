/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An operation of the tests' own: the destination becomes the source with every bit inverted. All
 * that a new operation needs is here: its number, its row, which op/opcodes.h includes, and the
 * function that carries it out, which op/run.h includes.
 */
#ifndef TEST_OPCODE
#define OPCODE_INVERT VDM_OPCODE_COUNT
#define TEST_OPCODE(X)                                                                             \
	X(OPCODE_INVERT, run_invert, OP_DESTINATION | OP_WRITES | OP_SOURCE | OP_DIVISIBLE)
#endif

#if defined(VDM_OP_RUN_H) && !defined(RUN_INVERT)
#define RUN_INVERT
static inline void run_invert(const struct operation *operation, size_t offset, size_t length,
			      const struct kernels *kernels, unsigned flags)
{
	(void)kernels;
	(void)flags;
	for (size_t i = offset; i < offset + length; i++)
		operation->destination[i] = (char)~operation->source[i];
}
#endif
