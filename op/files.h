/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files as memory. A part of a file is added at a range of addresses; operations on addresses in
 * such a range are reads and writes of the file, and this backend carries them out. The range need
 * not be mapped: nothing here touches it.
 *
 * What the page cache can do at once, of an operation of up to 1 MiB, is done by the thread that
 * submits it: RWF_NOWAIT, preadv2(2). The rest, and what is between files, is carried out by
 * io_uring(7) where that is allowed, and else by a few threads. An operation that has
 * VDM_DESCRIPTOR_DURABLE, and a flush, completes when fdatasync(2) of the file has returned 0 after
 * its last write. Such operations of one file share calls of it: those that come while one is in
 * progress wait for the next. When it fails, all of them fail, and so does every later one of the
 * file until all that was added of it has been removed, since the kernel reports a page that it has
 * lost once.
 */
#ifndef VDM_OP_FILES_H
#define VDM_OP_FILES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct backend;
struct files;

/* What has been done so far. relaxed: numbers for reports, which order nothing; partners: add() of
 * files.c, and the reader, which may be another process. */
struct files_counters {
	_Atomic uint64_t operations; /* completed with 0 */
	_Atomic uint64_t bytes;      /* read or written */
	_Atomic uint64_t syncs;      /* fewer than the operations that waited for that */
};

struct files_options {
	bool without_uring;              /* use threads only */
	unsigned threads;                /* at most so many; 0: four */
	struct files_counters *counters; /* zeroed; NULL: nothing is counted */
};

/* Returns 0 or a negative errno. */
int files_new(const struct files_options *options, struct files **files);

/* Everything has been removed. NULL is allowed. */
void files_delete(struct files *files);

/* To be given to an engine. It supports operations one side of which at least is of a file. */
struct backend *files_backend(struct files *files);

/* Whether io_uring is used. If not, stores why: a negative errno. */
bool files_use_uring(const struct files *files, int *why);

/* How often a file has been synced. Fewer than the operations that waited for that. */
uint64_t files_syncs(const struct files *files);

enum files_flags {
	FILES_WRITABLE = 1 << 0,
	FILES_EXTEND =
		1 << 1, /* operations may write beyond the end of the file, and so extend it */
};

/*
 * Add bytes [offset, offset + length) of a regular file at `*base`, or, if that is NULL, at
 * addresses that are reserved for it and stored there. On success the descriptor belongs to
 * `files`. Returns 0 or a negative errno.
 */
int files_add(struct files *files, int fd, uint64_t offset, uint64_t length, unsigned flags,
	      void **base);

/* A sync of the file that was added around `address` has failed elsewhere: none succeeds here. */
void files_fail_syncs(struct files *files, const void *address, int error);

/* Remove what was added at `base`. No operation uses it any more. */
void files_remove(struct files *files, void *base);

#endif
