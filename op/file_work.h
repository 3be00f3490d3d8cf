/* SPDX-License-Identifier: BSD-3-Clause */
/* What is to be done for an operation on files, as system calls know it. */
#ifndef VDM_OP_FILE_WORK_H
#define VDM_OP_FILE_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

/*
 * The thread that submits copies no more than this, which takes 100 us at 10 GB/s. A thread of the
 * kernel has to be woken for it and to wake another one at its end: with both, 1 MiB took 240 us.
 */
#define FILE_MOST_AT_ONCE ((size_t)1 << 20)

struct backend_request;
struct file_inode;

enum file_action {
	FILE_READ,  /* of the file into memory */
	FILE_WRITE, /* of memory into the file */
	FILE_COPY,  /* of another part of a file into the file */
	FILE_FILL,  /* the file with a byte */
	FILE_SYNC   /* the file's data to its device */
};

/* It proceeds in steps: `left` gets smaller with each. */
struct file_work {
	STAILQ_ENTRY(file_work) entry;
	enum file_action action;
	int fd;                   /* of the file */
	uint64_t part;            /* of the file: how many had been added before */
	uint64_t position;        /* in the file, of what is next */
	size_t left;              /* bytes */
	char *memory;             /* FILE_READ, FILE_WRITE: of what is next */
	int source_fd;            /* FILE_COPY */
	uint64_t source;          /* FILE_COPY: the position there */
	bool backward;            /* FILE_COPY: the ranges overlap, and the end has to come first */
	uint8_t fill;             /* FILE_FILL */
	unsigned again;           /* how often a step has moved nothing and may be tried again */
	int error;                /* 0 or a negative errno, once it is finished */
	bool may_not_wait;        /* the file system knows RWF_NOWAIT: file_work_try() */
	bool durable;             /* finished when the file has been synced after it */
	struct file_inode *inode; /* of the file */
	struct backend_request *request; /* NULL: a sync that others wait for */
};

STAILQ_HEAD(file_works, file_work);

/* A step of so many bytes has been made. */
static inline void file_work_advance(struct file_work *work, size_t bytes)
{
	work->left -= bytes;
	if (!work->backward) {
		work->position += bytes;
		work->source += bytes;
	}
	if (work->memory)
		work->memory += bytes;
}

/*
 * Take a result of read(2) or write(2) for a step, zero or more bytes or a negative errno. Returns
 * whether the work is finished.
 */
bool file_work_stepped(struct file_work *work, long result);

/*
 * Do what the page cache can do without waiting for the file system, of a read or write of at most
 * FILE_MOST_AT_ONCE bytes. Returns whether the work is finished. If it is not, the rest is to be
 * done in another way, which also finds the error if there is one.
 */
bool file_work_try(struct file_work *work);

/* Do all that is left, and wait for that. */
void file_work_run(struct file_work *work);

#endif
