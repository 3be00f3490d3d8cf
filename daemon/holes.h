/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client can punch pages out of a region. The next touch would allocate them again and charge
 * them to this process. With userfaultfd(2) it raises SIGBUS instead, which fails the operation
 * (engine/guard.h).
 *
 * UFFD_FEATURE_SIGBUS is there since Linux 4.14, and UFFD_USER_MODE_ONLY, which needs no privilege,
 * since Linux 5.11.
 */
#ifndef VDM_DAEMON_HOLES_H
#define VDM_DAEMON_HOLES_H

#include <stddef.h>

/*
 * Returns a descriptor, or a negative errno where the system does not allow or does not have this.
 */
int holes_open(void);

/*
 * Keep the missing pages of a mapping missing, until it is unmapped. Returns 0; or a negative
 * errno: -EPERM for a shared mapping of a file that was opened for reading only.
 */
int holes_keep(int fd, void *base, size_t size);

#endif
