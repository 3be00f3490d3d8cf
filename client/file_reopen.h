/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VDM_CLIENT_FILE_REOPEN_H
#define VDM_CLIENT_FILE_REOPEN_H

/*
 * Open the file of a descriptor anew, for the same rights: the kernel tells each open file
 * description once of a lost page, and the program may change the flags of its own. Where proc(5)
 * is missing, or the file's mode does not allow that any more, this is a duplicate. Returns a
 * descriptor; or -1, with errno.
 */
int file_reopen(int fd);

#endif
