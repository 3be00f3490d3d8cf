/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions of files; vdm_region_open_file() makes them. */
#ifndef VDM_CLIENT_FILE_REGION_H
#define VDM_CLIENT_FILE_REGION_H

struct vdm_region;

/*
 * Open the file of a descriptor anew, for the same rights: the kernel tells each open file
 * description once of a lost page, and the program may change the flags of its own. Where proc(5)
 * is missing, or the file's mode does not allow that any more, this is a duplicate. Returns a
 * descriptor; or -1, with errno.
 */
int file_region_reopen(int fd);

/* Take the file from the file engine, and close it. No operation uses the region any more. */
void file_region_forget(struct vdm_region *region);

#endif
