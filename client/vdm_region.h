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
	LIST_ENTRY(vdm_region) entry; /* region_table::regions */
	int fd;
	dev_t device; /* of the file, with its number: a file is one region at most */
	ino_t file;
	char *address;
	size_t size;
	bool writable;
	bool mapped; /* by the library: to be unmapped */
	uint32_t id; /* from the daemon; 0: unknown there. Guarded as the list is. */
};

#endif
