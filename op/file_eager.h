/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes by the thread that submits them. Some file systems know no RWF_NOWAIT for writes, ext4
 * among them, and to leave a write to another thread takes 10 to 100 us, in which 64 KiB are
 * written several times. A write of a file on storage of this machine goes to the page cache. It
 * waits only when the system holds writers back, or the storage fails. Once one has waited, the
 * next ones are left to others.
 */
#ifndef VDM_OP_FILE_EAGER_H
#define VDM_OP_FILE_EAGER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "file_work.h"

/* Of a file. */
struct file_eager {
	bool local; /* its file system is one that keeps its files on storage of this machine */
	/* How many of the next writes are left to others. relaxed: a hint, which orders nothing */
	_Atomic unsigned wary;
};

void file_eager_init(struct file_eager *eager, int fd);

/* Carry the work out if it is such a write. Returns whether it is finished; if it is not, the rest
 * is to be done in another way, which also finds the error if there is one. */
bool file_eager_write(struct file_eager *eager, struct file_work *work);

#endif
