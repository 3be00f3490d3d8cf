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
 * does no harm. Before the memory is unmapped, prefault_end() has to be asked.
 */
struct prefault_job *prefault_begin(struct prefault *prefault, void *base, size_t size, bool writable, int fd);

/* End it. Whether the memory is the caller's to unmap; or else the thread is at it, and does that. The job may be NULL. */
bool prefault_end(struct prefault *prefault, struct prefault_job *job);

#endif
