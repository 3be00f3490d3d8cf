/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether a file that a client passes may become a region, and mapping it. */
#ifndef VDM_DAEMON_REGION_H
#define VDM_DAEMON_REGION_H

#include <stdint.h>
#include <sys/types.h>

#include "books.h"
#include "import.h"
#include "populate.h"
#include "proto/control.h"

struct files;

struct region {
	uint32_t id;
	void *base;
	uint64_t size;
	struct files *files; /* it is a part of a file, which these have; NULL: it is memory */
	struct populating populating;
	dev_t device; /* of the file, so that it is not added twice */
	ino_t inode;
	struct charge charge;
};

/*
 * Check the size and the descriptor's rights, and open its file; in a filer, take the descriptor.
 * Returns a descriptor of our own, or a negative errno with a sentence.
 */
int region_open(struct passed *passed, uint64_t size, uint32_t flags, char text[VDM_REFUSAL_TEXT]);

/*
 * Check a file against the rules: a memfd, sealed by the client so that it can never become
 * shorter, at least `size` bytes long, with all pages allocated by the client, which is charged for
 * them, and not sealed against writing unless the region is read-only. Stores device and inode.
 * Returns 0, or a negative errno with the rule that it breaks in `text`.
 */
int region_check(int fd, uint64_t size, uint32_t flags, struct region *region,
		 char text[VDM_REFUSAL_TEXT]);

/*
 * Map it, and begin to map its pages; `holes_fd` is holes_open()'s. Returns 0, and then the
 * descriptor is closed when the pages are mapped; or a negative errno with a sentence.
 */
int region_map(struct region *region, struct populate_list *populating, int holes_fd, int fd,
	       uint64_t size, uint32_t flags, char text[VDM_REFUSAL_TEXT]);

void region_unmap(struct region *region, struct populate_list *populating);

#endif
