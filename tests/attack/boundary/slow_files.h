/* SPDX-License-Identifier: BSD-3-Clause */
/* Files whose last close(2) takes long. Each function returns a descriptor, or -1. */
#ifndef VDM_TESTS_BOUNDARY_SLOW_FILES_H
#define VDM_TESTS_BOUNDARY_SLOW_FILES_H

#include <stddef.h>

/* A TCP socket that lingers for 60 s, with bytes that its peer does not read (socket(7)). */
int lingering_socket(void);

/* A memfd of so many bytes, whose pages are freed with it. */
int large_memfd(size_t bytes);

/* An inotify(7) instance with a watch: freeing it waits until no processor uses the watch. */
int watching_inotify(void);

/* An epoll(7) instance that waits for many files. */
int crowded_epoll(void);

/* A memfd with many record locks of the open file, which are freed with it. */
int locked_memfd(void);

/* Another open file of one inode, with a shared flock(2). */
int flocked_file(void);

/* An open file of one directory, whose changes send a signal (fcntl(2), F_NOTIFY). */
int notifying_directory(void);

/* A copy of the tree of mounts that is unmounted with it; needs a user namespace of its own. */
int detached_mount(void);

/* A socket that holds a message with a socket that holds one, and so on, with `fd` in the last.
 * Closes `fd`. */
int nested_socket(int fd);

#endif
