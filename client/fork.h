/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Knowing that this is not the process that opened an object. A forked child has the parent's memory and
 * descriptors, but not its threads, and a second producer would ruin a ring. Each object remembers the
 * epoch that it was opened in; a child is in another one. The epoch lies in a page that the kernel wipes
 * in the child (madvise(2), MADV_WIPEONFORK), so that this also holds after a bare clone(2), and costs one
 * load.
 */
#ifndef VDM_CLIENT_FORK_H
#define VDM_CLIENT_FORK_H

#include <stdbool.h>
#include <stdint.h>

/* The epoch of this process; 0 when memory is short. */
uint32_t fork_epoch(void);

/* Whether an object of that epoch was opened by another process. */
bool fork_happened(uint32_t epoch);

/* The error for it: -EOWNERDEAD, with the sentence. */
int fork_error(void);

#endif
