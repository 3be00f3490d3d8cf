/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mapping the pages of regions before they are needed. A worker that touches a page for the first
 * time spends 1.5 us in the kernel, in which it could move 30 KB. So a thread of low priority goes
 * through new regions, a piece of each in turn, and sleeps when there are none. It maps only pages
 * that the client has allocated and is charged for.
 *
 * A client can delay the thread by what it does to its file. No other thread waits: if the thread
 * is in a mapping when the region goes, the thread unmaps it.
 */
#ifndef VDM_DAEMON_PREFAULT_H
#define VDM_DAEMON_PREFAULT_H

#include <stdbool.h>
#include <stddef.h>

struct prefault;
struct prefault_job;

/* Returns 0 or a negative errno. The thread is started with the first job. */
int prefault_new(struct prefault **prefault);

/* Stop the thread and free everything, unless the thread is stuck. NULL is allowed. */
void prefault_free(struct prefault *prefault);

/*
 * Go through a mapping of a whole memfd, whose descriptor stays the caller's. Returns NULL if that
 * cannot be done: then pages are mapped when they are touched. Call prefault_end() before unmapping
 * the memory.
 */
struct prefault_job *prefault_begin(struct prefault *prefault, void *base, size_t size,
				    bool writable, int fd);

/*
 * End a job, which may be NULL. Returns whether the caller has to unmap the memory; otherwise the
 * thread does.
 */
bool prefault_end(struct prefault *prefault, struct prefault_job *job);

#endif
