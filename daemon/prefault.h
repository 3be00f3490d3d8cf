/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mapping the pages of regions before they are needed. A worker that touches a page for the first time spends 1.5 us in
 * the kernel, in which it could move 30 KB; so a thread of low priority goes through new regions, a piece of each in
 * turn, and sleeps when there is none. Only pages that the client has allocated: it is he who pays for them.
 *
 * The thread may be delayed by what a client does to his file. Nobody waits for it: who is at a mapping last, unmaps it.
 */
#ifndef VDM_DAEMON_PREFAULT_H
#define VDM_DAEMON_PREFAULT_H

#include <stdbool.h>
#include <stddef.h>

struct prefault;
struct prefault_job;

int prefault_new(struct prefault **prefault);
void prefault_free(struct prefault *prefault);

/*
 * Go through a mapping of a whole memfd, of which `fd` stays the caller's. Returns NULL if that cannot be done, which
 * does no harm. From now on the memory has to be unmapped with prefault_unmap().
 */
struct prefault_job *prefault_begin(struct prefault *prefault, void *base, size_t size, bool writable, int fd);

/* Unmap the memory, at once or as soon as the thread is not at it. The job may be NULL. */
void prefault_unmap(struct prefault *prefault, struct prefault_job *job, void *base, size_t size);

#endif
