/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mapping the pages of regions before they are needed. A worker that touches a page for the first
 * time spends 1.5 us in the kernel, in which it could move 30 KB. So the clerk goes through its
 * user's new regions, a piece of each in turn, while it has nothing else to do. It maps only pages
 * that the client has allocated and is charged for.
 */
#ifndef VDM_DAEMON_POPULATE_H
#define VDM_DAEMON_POPULATE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

/* The pages of one mapping. Zeroed: nothing is to be done. */
struct populating {
	TAILQ_ENTRY(populating) entry; /* while `size` > 0 */
	char *base;
	size_t size, done;
	int fd; /* of its file */
	bool writable;
};

TAILQ_HEAD(populate_list, populating);

/* The descriptor is closed when it is done. */
void populate_begin(struct populate_list *list, struct populating *pages, void *base, size_t size,
		    bool writable, int fd);

/* Map a piece of the next in turn, if there is one. */
void populate_step(struct populate_list *list);

/* Have it done no further. */
void populate_end(struct populate_list *list, struct populating *pages);

/* Unmap memory, in pieces that do not hold up other threads of the process. */
void unmap_in_pieces(void *base, size_t size);

#endif
