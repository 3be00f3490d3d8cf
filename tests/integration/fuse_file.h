/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file system with one file, by fuse(4) without a library: a child process answers the kernel. It
 * fails or leaves requests unanswered as it is told, and takes down when which bytes were written
 * and synced. Nothing is cached: each read and write of the file becomes a request.
 */
#ifndef TEST_FUSE_FILE_H
#define TEST_FUSE_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FUSE_BLOCK  ((size_t)4096)
#define FUSE_BLOCKS 2048u
#define FUSE_BYTES  (FUSE_BLOCK * FUSE_BLOCKS)

enum fuse_request {
	FUSE_FILE_READ,
	FUSE_FILE_WRITE,
	FUSE_FILE_SYNC,
	FUSE_FILE_FLUSH, /* by close(2) */
	FUSE_FILE_REQUESTS
};

#define FUSE_ANSWER 0
#define FUSE_HOLD   (-1) /* until it is told otherwise; else a positive errno */

/* A sync that has succeeded: when it arrived, and when it was answered. */
struct fuse_sync {
	uint64_t begin, end;
};

/* What both processes have. Times are numbers of one sequence. */
struct fuse_record {
	_Atomic uint64_t sequence;
	_Atomic int answers[FUSE_FILE_REQUESTS];
	_Atomic uint64_t written[FUSE_BLOCKS]; /* when a block was written last; 0: never */
	_Atomic unsigned syncs;                /* successful ones */
	struct fuse_sync sync[4 * FUSE_BLOCKS];
	char bytes[FUSE_BYTES];
};

struct fuse_file {
	struct fuse_record *record;
	int held_fd; /* counts the requests that are held */
	int kick_fd; /* tells the child of a new answer */
	pid_t child;
	char folder[64];
};

/*
 * Mount it, in a mount namespace that this process enters: it has one thread yet. Returns 0; or a
 * negative errno if this system does not allow that, and then nothing is left.
 */
int fuse_file_start(struct fuse_file *file);

/* What was opened has been closed. */
void fuse_file_stop(struct fuse_file *file);

/* Returns a descriptor. */
int fuse_file_open(const struct fuse_file *file);

/* What becomes of such requests from now on, and of those that are held. */
void fuse_file_answer(const struct fuse_file *file, enum fuse_request request, int answer);

/* Wait until one request more is held. */
void fuse_file_await_held(const struct fuse_file *file);

/* The next number of the sequence. */
uint64_t fuse_file_now(const struct fuse_file *file);

#endif
