/* SPDX-License-Identifier: BSD-3-Clause */
/* Closing many descriptors at once, however long their files take to be closed. */
#ifndef VDM_DAEMON_DETACHED_CLOSE_H
#define VDM_DAEMON_DETACHED_CLOSE_H

/*
 * Close descriptors without waiting for their files. A thread with its own copy of the descriptor
 * table has the same files open and closes them last, when it ends. No thread waits for that, and
 * no socket lingers, as at the exit of a process (socket(7)). Sorts the array. Returns 0; or a
 * negative errno, and then nothing is closed.
 */
int detached_close(int *fds, unsigned count);

#endif
