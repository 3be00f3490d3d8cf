/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory files: making them, and rules for those that clients pass to be mapped. A check returns 0,
 * or a negative errno with the rule that is broken in `text`. No check waits for a lock of the
 * file, which the client may hold for as long as it likes.
 */
#ifndef VDM_DAEMON_MEMFD_H
#define VDM_DAEMON_MEMFD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "proto/control.h"

/*
 * Check that it is a memfd of ordinary pages, and store its status. `seals` is the result of
 * F_GET_SEALS, also if negative.
 */
int memfd_check_kind(int fd, int seals, struct stat *status, char text[VDM_REFUSAL_TEXT]);

/*
 * Check that it has at least `size` bytes, can never become shorter, and has all of its pages, so
 * that the client is charged for them.
 */
int memfd_check_pages(const struct stat *status, int seals, uint64_t size,
		      char text[VDM_REFUSAL_TEXT]);

/*
 * Make one of `size` bytes, which can never have another size, and map it. Returns its descriptor
 * or a negative errno.
 */
int memfd_make(const char *name, size_t size, void **memory);

/*
 * Make one for a client to populate, so that the client is charged for its pages: it has none yet.
 * Map it, and then add `seals` to those that fix its size. Returns its descriptor or a negative
 * errno.
 */
int memfd_make_empty(const char *name, size_t size, int protection, int seals, void **memory);

/* Whether all pages of a file of ours are there, so that no one is charged for one any more. */
bool memfd_is_populated(int fd, size_t size);

/*
 * Open a file of ours for reading only. Its mode becomes 0400, so that clients cannot reopen it for
 * writing.
 */
int memfd_open_read_only(int fd);

#endif
