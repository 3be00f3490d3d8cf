/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether a file that a client passes to its filer may become a region, and adding it to the files
 * that the filer works on. It is never mapped: its region has addresses, and no memory.
 */
#ifndef VDM_DAEMON_FILE_REGION_H
#define VDM_DAEMON_FILE_REGION_H

#include "import.h"
#include "proto/control.h"

struct files;
struct region;

/*
 * Check a file against the rules, op/file_check.h: and it must not lie in memory, as its pages
 * would be charged to the daemon. Returns the descriptor, which has been taken; or a negative errno
 * with the rule that it breaks in `text`.
 */
int file_region_open(struct passed *passed, const struct vdm_message_file_add *add,
		     char text[VDM_REFUSAL_TEXT]);

/*
 * Give a zeroed region its addresses. Returns 0, and then the descriptor belongs to `files`; or a
 * negative errno with a sentence.
 */
int file_region_add(struct region *region, struct files *files, int fd,
		    const struct vdm_message_file_add *add, char text[VDM_REFUSAL_TEXT]);

/* Close its file. The file system decides how long that takes. */
void file_region_remove(struct region *region);

#endif
