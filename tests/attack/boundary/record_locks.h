/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many record locks (fcntl(2)) on one inode. Each close(2) of a file of that inode, in whatever
 * process, looks for locks of its own among them.
 */
#ifndef VDM_TESTS_BOUNDARY_RECORD_LOCKS_H
#define VDM_TESTS_BOUNDARY_RECORD_LOCKS_H

#define MANY_LOCKS 1000000

/*
 * Take so many, of `type` F_RDLCK or F_WRLCK. `command` is F_SETLK for locks of this process or
 * F_OFD_SETLK for locks of the open file. Returns how many were taken.
 */
unsigned record_locks_take(int fd, int command, short type, unsigned count);

#endif
