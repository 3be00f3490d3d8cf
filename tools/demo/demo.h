/* SPDX-License-Identifier: BSD-3-Clause */
/* The demonstration: processes that copy files through the daemon, and the same work done inline. */
#ifndef VDM_DEMO_H
#define VDM_DEMO_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct file {
	char *path;
	uint64_t size;
};

struct files {
	struct file *file;
	size_t count;
};

/* What a client process tells its parent, in memory that they share. Relaxed atomics: figures to be shown. */
struct tally {
	_Atomic uint64_t bytes;            /* copied through the library, and verified */
	_Atomic uint64_t operations;
	_Atomic uint64_t offload_ns, offload_cpu_ns;
	_Atomic uint64_t inline_ns, inline_cpu_ns;
	_Atomic uint64_t offloaded, offloaded_bytes; /* of them, those that the daemon did */
	_Atomic uint64_t small;            /* those that the library did, for they are not worth the way */
	_Atomic uint64_t elsewhere;        /* those that did not go to the daemon for another reason */
	_Atomic uint32_t wrong;            /* pieces that were not copied right */
};

/* files.c: the largest regular files below a directory, or those that are named. Returns 0, or -1 after a
 * message. */
int files_largest(struct files *files, const char *directory, size_t count);
int files_named(struct files *files, char **paths, size_t count);
void files_free(struct files *files);

/* client.c: copy files number `index`, `index` + `step`, ... over and over until `deadline_ns` has passed, each
 * at least once. Returns the exit status of the process. */
int client_run(const struct files *files, size_t index, size_t step, uint64_t deadline_ns,
	       struct tally *tally);

/* ns of CLOCK_MONOTONIC, and of this process's CPU time */
uint64_t now_ns(void);
uint64_t cpu_ns(void);

#endif
