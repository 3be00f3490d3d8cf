/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lock beside a socket of our own: PATH.lock, held for as long as the daemon has the socket. It
 * keeps two daemons from replacing, at the same time, a socket that a killed daemon has left.
 *
 * The kernel releases the lock when the daemon dies (flock(2)), and the next daemon uses the file.
 */
#ifndef VDM_DAEMON_LOCK_FILE_H
#define VDM_DAEMON_LOCK_FILE_H

/* Long enough for the name of the lock and a reason. */
#define LOCK_FILE_ERROR_TEXT 256

/*
 * Take the lock of the socket at `path`. Returns a descriptor for lock_file_release(); -EADDRINUSE
 * if another process has the lock; -ENOENT if the directory does not exist; or another negative
 * errno, with what is wrong in `error`.
 *
 * If other users may write to the directory, they may have put anything in the lock's place. A link
 * there is not followed, and a file is neither waited for nor written.
 */
int lock_file_take(const char *path, char error[LOCK_FILE_ERROR_TEXT]);

/* Remove the file and release the lock. */
void lock_file_release(const char *path, int fd);

#endif
