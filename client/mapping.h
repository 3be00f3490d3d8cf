/* SPDX-License-Identifier: BSD-3-Clause */
/* Checking what this process has mapped. */
#ifndef VDM_CLIENT_MAPPING_H
#define VDM_CLIENT_MAPPING_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Whether the first `bytes` of a file are mapped at `address` with MAP_SHARED. Otherwise the
 * program would not see there what the daemon stores into the file. Returns 0; -EINVAL: they are
 * not mapped so; -EACCES: the mapping cannot be read, or cannot be written though `writable`; or
 * another negative errno. Each error has its sentence.
 */
int mapping_check(int fd, const void *address, size_t bytes, bool writable);

#endif
