/* SPDX-License-Identifier: BSD-3-Clause */
/* File work by io_uring(7). Nothing here locks: the owner does. */
#ifndef VDM_OP_FILE_URING_H
#define VDM_OP_FILE_URING_H

#include <liburing.h>
#include <stdbool.h>

#include "file_work.h"

struct file_uring {
	struct io_uring ring;
	int event_fd; /* readable when something has finished; -1: not open */
	unsigned in_progress;
	bool unsubmitted; /* the kernel has not taken all: file_uring_flush() */
	bool forbidden;   /* it takes nothing any more */
};

/* Returns 0; or a negative errno, and then nothing is open. */
int file_uring_open(struct file_uring *uring);
void file_uring_close(struct file_uring *uring);

/* Whether it can carry that out. */
bool file_uring_takes(const struct file_uring *uring, const struct file_work *work);

/*
 * Begin work. Much of it is finished by then, see file_uring_reap(). Returns 0, or a negative errno
 * if there is no room.
 */
int file_uring_begin(struct file_uring *uring, struct file_work *work);

/* Submit what could not be submitted. */
void file_uring_flush(struct file_uring *uring);

/*
 * Append to `finished` what has finished, and continue what has not been done as a whole. Append to
 * `given_up` what a thread that waits has to finish.
 */
void file_uring_reap(struct file_uring *uring, struct file_works *finished,
		     struct file_works *given_up);

#endif
