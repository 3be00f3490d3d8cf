/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory files: those that are made here, and rules for every one that a client passes to be mapped. Each of those returns
 * 0, or a negative errno with the rule that is broken in `text`, and none waits for a lock of the file, which the client
 * may hold for as long as it likes.
 */
#ifndef VDM_DAEMON_MEMFD_H
#define VDM_DAEMON_MEMFD_H

#include <stdint.h>
#include <sys/stat.h>

#include "proto/control.h"

/* A memfd of ordinary pages, whose `status` is stored. `seals` are what F_GET_SEALS said before, negative if nothing. */
int memfd_check_kind(int fd, int seals, struct stat *status, char text[VDM_REFUSAL_TEXT]);

/* It can never become shorter than it is, that is at least `size` bytes, and all of its pages are there, so that it is
 * the client who is charged for them. */
int memfd_check_pages(const struct stat *status, int seals, uint64_t size, char text[VDM_REFUSAL_TEXT]);

/* The refusal of a file whose pages are not all there. */
int memfd_refuse_holes(char text[VDM_REFUSAL_TEXT]);

/* One of our own, of `size` bytes, that can never have another size; mapped. Returns its descriptor or a negative errno. */
int memfd_make(const char *name, size_t size, void **memory);

/* The same file, opened so that it cannot be written: not even by reopening, for it is ours and 0400. */
int memfd_open_read_only(int fd);

#endif
