/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing stores back from the CPU's caches, as far as a program can without privilege. */
#ifndef VDM_CLIENT_WRITE_BACK_H
#define VDM_CLIENT_WRITE_BACK_H

#include <stdbool.h>
#include <stddef.h>

/* Whether this CPU can. */
bool can_write_back(void);

/* Write the cache lines of `n` bytes back to memory, whichever CPU has written them, and wait until
 * that is done. */
void write_back(const void *address, size_t n);

#endif
