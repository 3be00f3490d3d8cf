/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Detecting that another process, a parent, opened an object. A forked child has the parent's
 * memory and descriptors but not its threads, and a second producer would ruin a ring. Each object
 * remembers the epoch in which it was opened. A child is in another epoch. The epoch lies in a page
 * that the kernel wipes in the child (madvise(2), MADV_WIPEONFORK): this works after a bare
 * clone(2) too, and a check costs two loads.
 */
#ifndef VDM_CLIENT_FORK_H
#define VDM_CLIENT_FORK_H

#include <stdbool.h>
#include <stdint.h>

/* The epoch of this process; 0: memory is short. */
uint32_t fork_epoch(void);

/* Whether an object of that epoch was opened by another process. */
bool fork_happened(uint32_t epoch);

/* The error for that: -EOWNERDEAD, with its sentence. */
int fork_error(void);

#endif
