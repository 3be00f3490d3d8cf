/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether a file that a client passes may become a region, and mapping it. */
#ifndef VDM_DAEMON_REGION_H
#define VDM_DAEMON_REGION_H

#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "books.h"
#include "proto/control.h"

struct prefault;
struct prefault_job;
struct reaper;
struct user;

struct region {
	LIST_ENTRY(region) entry; /* session::regions */
	uint32_t id;
	void *base;
	uint64_t size;
	struct prefault_job *prefault; /* NULL: none */
	dev_t device;                  /* of the file, so that it is not added twice */
	ino_t inode;
	struct charge charge;
};

/*
 * Check a file against the rules: a memfd, sealed by the client so that it can never become
 * shorter, at least `size` bytes long, with all pages allocated by the client, which is charged for
 * them, and opened for writing unless the region is read-only. Stores device and inode. Returns 0,
 * or a negative errno with the rule that it breaks in `text`. The descriptor stays the caller's.
 */
int region_check(int fd, uint64_t size, uint32_t flags, struct region *region,
		 char text[VDM_REFUSAL_TEXT]);

/*
 * Map it, and begin to map its pages; `holes_fd` is holes_open()'s. Returns 0 or a negative errno
 * with a sentence.
 */
int region_map(struct region *region, struct prefault *prefault, int holes_fd, int fd,
	       uint64_t size, uint32_t flags, char text[VDM_REFUSAL_TEXT]);

/* Unmap it: a large one is the reaper's to unmap. */
void region_dispose(struct region *region, struct prefault *prefault, struct reaper *reaper,
		    struct user *user);

#endif
