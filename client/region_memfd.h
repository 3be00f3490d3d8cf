/* SPDX-License-Identifier: BSD-3-Clause */
/* The memfds of regions: files that cannot shrink, with all of their pages allocated. */
#ifndef VDM_CLIENT_REGION_MEMFD_H
#define VDM_CLIENT_REGION_MEMFD_H

#include <stdbool.h>
#include <stddef.h>

/* `bytes` in whole pages. */
size_t region_memfd_size(size_t bytes);

/* Make a file of whole pages and map it. Returns 0 or a negative errno. */
int region_memfd_make(size_t size, int *fd, char **address);

/* Whether the first `bytes` of the descriptor's file can become a region with these flags of
 * vdm_region_import(). Seals the file against shrinking. Returns 0 or a negative errno with its
 * sentence. */
int region_memfd_check(int fd, size_t bytes, unsigned flags);

/* Allocate the pages that the file does not have yet: the daemon accepts whole files only, see
 * vdm-protocol(7). Returns 0 or a negative errno. */
int region_memfd_fill(int fd, bool writable);

/* Returns 0 or a negative errno. */
int region_memfd_map(int fd, size_t size, bool writable, char **address);

#endif
