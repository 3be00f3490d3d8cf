/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sizes of the pieces of a large operation, in bytes. While other users may be waiting, a piece
 * takes 0.5 us at 16 GB/s, about as long as the trip to the daemon and back. Other rings of the
 * same user, and users that had nothing to submit when it began, wait 4 us. Alone, larger pieces
 * cost less: taking a piece needs two lock operations, and its end waits for the stores that bypass
 * the cache, 150 ns.
 */
#ifndef VDM_ENGINE_PIECES_H
#define VDM_ENGINE_PIECES_H

#include <stddef.h>

#define PIECE_OTHERS ((size_t)8 << 10)
#define PIECE_SHARED ((size_t)64 << 10)
#define PIECE_ALONE  ((size_t)512 << 10)

#endif
