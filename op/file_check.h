/* SPDX-License-Identifier: BSD-3-Clause */
/* Which files can be regions. */
#ifndef VDM_OP_FILE_CHECK_H
#define VDM_OP_FILE_CHECK_H

#include <stddef.h>
#include <stdint.h>

enum file_check_flags {
	FILE_CHECK_READ_ONLY = 1 << 0, /* operations are only to read it */
	FILE_CHECK_EXTEND = 1 << 1     /* the region may be longer than the file */
};

/*
 * Whether these bytes of the descriptor's file can become a region. `flags`: enum file_check_flags.
 * Returns 0; or a negative errno, and then the sentence is in `text`, of `size` bytes.
 */
int file_check(int fd, uint64_t offset, uint64_t length, unsigned flags, char *text, size_t size);

#endif
