/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VDM_CLIENT_VDM_REGION_H
#define VDM_CLIENT_VDM_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

struct vdm_region {
	struct vdm_client *client;
	LIST_ENTRY(vdm_region) entry; /* region_table::regions, or region_table::files */
	int fd;                       /* of a region of a file: its file engine's */
	dev_t device; /* of its file, with its number: a memfd is one region at most */
	ino_t file;
	char *address;
	size_t size;
	bool writable;
	bool of_file;    /* opened by vdm_region_open_file() */
	bool extends;    /* its file: VDM_REGION_EXTEND */
	uint64_t offset; /* in its file; 0 of a memfd */
	bool mapped;     /* by the library: to be unmapped */
	uint32_t id;     /* from the daemon; 0: unknown there. Guarded as the list is. */
	uint32_t number; /* of this region: the client's first is 1. A copy has its original's. */
	/* Its copy among the regions of client->filer, with the filer's id. NULL: there is none.
	 * Guarded by the connection's `talk`. */
	struct vdm_region *in_filer;
};

#endif
