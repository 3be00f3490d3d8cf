/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lock beside a socket of our own: PATH.lock, held for as long as the daemon has the socket. Between finding that
 * no daemon listens at a socket that a killed one has left, and taking its place, another daemon could do that too.
 *
 * The kernel takes the lock back when the daemon dies (flock(2)), and the next daemon uses the file that it leaves.
 */
#ifndef VDM_DAEMON_LOCK_FILE_H
#define VDM_DAEMON_LOCK_FILE_H

/* Room for the name of the lock and a reason. */
#define LOCK_FILE_ERROR_TEXT 256

/*
 * Take the lock of the socket at `path`. Returns a descriptor for lock_file_release(); -EADDRINUSE when another process
 * has it; -ENOENT when there is no such directory; or another negative errno, with what is wrong in `error`.
 *
 * Where the directory is others' to write, they may have put anything in the lock's place. It is not followed, waited
 * for, or written.
 */
int lock_file_take(const char *path, char error[LOCK_FILE_ERROR_TEXT]);

/* Remove the file and give the lock back. */
void lock_file_release(const char *path, int fd);

#endif
