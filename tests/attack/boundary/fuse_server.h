/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file system in user space (fuse(4)) with one file, whose server answers whatever opening the
 * file takes, and never FLUSH or READ: a close(2) of the file does not return, and no signal ends
 * it.
 */
#ifndef VDM_TESTS_BOUNDARY_FUSE_SERVER_H
#define VDM_TESTS_BOUNDARY_FUSE_SERVER_H

#include <sys/types.h>

/*
 * As root: mount it at `directory`, which is made and stays the caller's, in a mount namespace of
 * this process, for `owner`. Returns 0 or a negative errno.
 */
int fuse_server_mount(const char *directory, uid_t owner);

/*
 * As the owner: serve it in this process, which does not return, and open it in a child, which
 * does: with the descriptor or a negative errno. When the process is killed the file system ends,
 * and with it all that waits for an answer, also the child.
 */
int fuse_server_open(void);

#endif
