/* SPDX-License-Identifier: BSD-3-Clause */
#include "file_sync.h"

void file_inode_init(struct file_inode *inode, dev_t device, ino_t number)
{
	*inode = (struct file_inode){.device = device, .number = number};
	STAILQ_INIT(&inode->waiting);
	STAILQ_INIT(&inode->upcoming);
}

/* Begin a sync for all that is upcoming, by the descriptor that the first of it was written by. */
static struct file_work *begin(struct file_inode *inode)
{
	const struct file_work *first = STAILQ_FIRST(&inode->upcoming);

	if (!first)
		return NULL;
	inode->sync = (struct file_work){.action = FILE_SYNC, .fd = first->fd, .inode = inode};
	STAILQ_CONCAT(&inode->waiting, &inode->upcoming);
	return &inode->sync;
}

struct file_work *file_sync_join(struct file_inode *inode, struct file_work *work)
{
	STAILQ_INSERT_TAIL(&inode->upcoming, work, entry);
	return STAILQ_EMPTY(&inode->waiting) ? begin(inode) : NULL;
}

struct file_work *file_sync_end(struct file_inode *inode, struct file_works *finished)
{
	struct file_work *work;

	/* the kernel tells once that it has lost a page: fsync(2) */
	if (inode->sync.error && !inode->error)
		inode->error = inode->sync.error;
	STAILQ_FOREACH(work, &inode->waiting, entry)
		work->error = inode->error;
	STAILQ_CONCAT(finished, &inode->waiting);
	return begin(inode);
}
