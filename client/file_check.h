/* SPDX-License-Identifier: BSD-3-Clause */
/* Which files can be regions. */
#ifndef VDM_CLIENT_FILE_CHECK_H
#define VDM_CLIENT_FILE_CHECK_H

#include <stdint.h>

/* Whether these bytes of the descriptor's file can become a region with these flags of
 * vdm_region_open_file(). Returns 0 or a negative errno with its sentence. */
int file_check(int fd, uint64_t offset, uint64_t length, unsigned flags);

#endif
