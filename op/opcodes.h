/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of operations: one row per opcode. Client and engine take every fact about an operation
 * from its row, so a new operation is a number in proto/ring.h, a row here, and a file with the
 * function that carries it out.
 */
#ifndef VDM_OP_OPCODES_H
#define VDM_OP_OPCODES_H

#include <assert.h>

#include "proto/ring.h"

enum opcode_facts {
	OP_DESTINATION = 1 << 0, /* names a range: destination_region, destination_offset, length */
	OP_RANGE_OPTIONAL = 1 << 1, /* region 0 and length 0 name no range */
	OP_WRITES = 1 << 2,         /* stores to that range; its value is the bytes of all pieces */
	OP_SOURCE = 1 << 3,         /* loads from a second range of the same length */
	OP_PATTERN = 1 << 4,        /* `pattern` is a byte value */
	OP_ORDERED = 1 << 5, /* begins after all earlier operations of the ring have completed */
	/* has pieces, which may run at once; the first error is its result */
	OP_DIVISIBLE = 1 << 6,
	OP_KNOWN = 1 << 7,
};

/* A test may add a row, and the function in op/run.h: tests/unit/test_opcode.c. */
#ifdef VDM_TEST_OPCODE
#include VDM_TEST_OPCODE
#else
#define TEST_OPCODE(X)
#endif

/* opcode, function of struct operation that carries out a part of it, facts */
#define OPCODES(X)                                                                                 \
	X(VDM_OPCODE_NOP, run_nothing, 0)                                                          \
	X(VDM_OPCODE_MEMCPY, run_memcpy, OP_DESTINATION | OP_WRITES | OP_SOURCE | OP_DIVISIBLE)    \
	X(VDM_OPCODE_MEMMOVE, run_memmove, OP_DESTINATION | OP_WRITES | OP_SOURCE | OP_DIVISIBLE)  \
	X(VDM_OPCODE_MEMSET, run_memset, OP_DESTINATION | OP_WRITES | OP_PATTERN | OP_DIVISIBLE)   \
	X(VDM_OPCODE_FLUSH, run_nothing, OP_DESTINATION | OP_RANGE_OPTIONAL | OP_ORDERED)          \
	TEST_OPCODE(X)

/* Complete: as many rows as opcodes, and a second row for one of them would be a second case in
 * operation_run(). */
#define OPCODE_ONE(opcode, run, facts) +1
#define TEST_OPCODES                   (0 TEST_OPCODE(OPCODE_ONE))
static_assert(0 OPCODES(OPCODE_ONE) == VDM_OPCODE_COUNT + TEST_OPCODES,
	      "one row for each opcode of proto/ring.h");

/* Facts by opcode, 0 if there is no such operation. Any byte may be the index. */
extern const uint8_t opcode_facts[UINT8_MAX + 1];

#endif
