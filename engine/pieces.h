/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sizes of the pieces of a large operation, in bytes. They depend on who may be waiting: another user should
 * hardly notice (0.5 us at 16 GB/s, about as long as the trip to the daemon and back), other rings of the
 * same user may notice (4 us, and users who have nothing to submit before). Alone, longer pieces cost less:
 * taking one is two lock operations without a system call, and what was stored around the cache is waited
 * for, 150 ns.
 */
#ifndef VDM_ENGINE_PIECES_H
#define VDM_ENGINE_PIECES_H

#include <stddef.h>

#define PIECE_OTHERS ((size_t)8 << 10)
#define PIECE_SHARED ((size_t)64 << 10)
#define PIECE_ALONE  ((size_t)512 << 10)

#endif
