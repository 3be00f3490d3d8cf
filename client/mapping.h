/* SPDX-License-Identifier: BSD-3-Clause */
/* What this process has mapped where. */
#ifndef VDM_CLIENT_MAPPING_H
#define VDM_CLIENT_MAPPING_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Whether `bytes` from `address` on are the beginning of that file, mapped with MAP_SHARED: else what the daemon stores
 * into the file would not be seen there. Returns 0; -EINVAL: they are not; -EACCES: they may not be read, or not
 * written though `writable`; or another negative errno. There is a sentence for each.
 */
int mapping_check(int fd, const void *address, size_t bytes, bool writable);

#endif
