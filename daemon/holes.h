/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client can punch pages out of a region that it has allocated before. The next touch would allocate them again, and
 * charge them to this process; with this it is a SIGBUS instead, which fails the operation (engine/guard.h).
 *
 * userfaultfd(2): UFFD_FEATURE_SIGBUS, Linux 4.14; UFFD_USER_MODE_ONLY, which takes no privilege, Linux 5.11.
 */
#ifndef VDM_DAEMON_HOLES_H
#define VDM_DAEMON_HOLES_H

#include <stddef.h>

/* Returns a descriptor, or a negative errno where the system does not allow this or has it not. */
int holes_open(void);

/*
 * From now on, until it is unmapped, missing pages of a mapping stay missing. Returns 0; or a negative errno: -EPERM for
 * a shared mapping of a file that was opened for reading only.
 */
int holes_keep(int fd, void *base, size_t size);

/* Whether all of the first `size` bytes of a file are there: 0, or -ENODATA. A look at each page: for small files, whose
 * pages can then not be punched out any more. */
int holes_find(int fd, int file, size_t size);

#endif
