/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether a file that a client passes may become a region, and mapping it. */
#ifndef VDM_DAEMON_REGION_H
#define VDM_DAEMON_REGION_H

#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "books.h"
#include "prefault.h"
#include "reaper.h"
#include "proto/control.h"

struct region {
	LIST_ENTRY(region) entry; /* in its session */
	uint32_t id;
	void *base;
	uint64_t size;
	struct prefault_job *prefault; /* NULL: none */
	dev_t device;             /* of the file, to find a second one */
	ino_t inode;
	struct charge charge;
};

LIST_HEAD(region_list, region);

/*
 * Check a file against the rules: a memfd, sealed by the client so that it can never become shorter, at least `size` bytes
 * long, all of its pages allocated by the client, so that it is he who is charged for them, and opened for writing unless
 * it is to be read only. Stores device and inode. Returns 0, or a negative errno with the rule that it breaks in `text`.
 * The descriptor stays the caller's.
 */
int region_check(int fd, uint64_t size, uint32_t flags, struct region *region,
		 char text[VDM_REFUSAL_TEXT]);

/* Map it, and begin to map its pages; `holes_fd` is holes_open()'s. Returns 0 or a negative errno with a sentence. */
int region_map(struct prefault *prefault, int holes_fd, int fd, uint64_t size, uint32_t flags, struct region *region,
	       char text[VDM_REFUSAL_TEXT]);

/* Unmap it: a large one in the background. */
void region_unmap(struct prefault *prefault, struct reaper *reaper, struct user *user, struct region *region);

#endif
