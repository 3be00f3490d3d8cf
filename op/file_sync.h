/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work that waits for a file to be synced. What comes while a sync is in progress may have been
 * written too late for it, and waits for the next one, together with all that comes meanwhile.
 */
#ifndef VDM_OP_FILE_SYNC_H
#define VDM_OP_FILE_SYNC_H

#include <sys/types.h>

#include "file_eager.h"
#include "file_work.h"

/* A file, of which several parts may have been added. Guarded by the lock of its owner. */
struct file_inode {
	LIST_ENTRY(file_inode) entry;
	dev_t device;
	ino_t number;
	unsigned parts;
	struct file_eager eager;
	struct file_work sync;      /* in progress if `waiting` is not empty */
	struct file_works waiting;  /* for that one */
	struct file_works upcoming; /* for the next one */
	int error;                  /* of a sync that has failed: none succeeds any more */
};

void file_inode_init(struct file_inode *inode, dev_t device, ino_t number);

/*
 * Work that has been done waits for a sync. Returns the sync to be begun, or NULL if one is in
 * progress already.
 */
struct file_work *file_sync_join(struct file_inode *inode, struct file_work *work);

/*
 * The sync is finished. Appends what waited for it to `finished`. Returns the next one to be begun,
 * or NULL.
 */
struct file_work *file_sync_end(struct file_inode *inode, struct file_works *finished);

#endif
