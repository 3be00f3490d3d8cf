/* SPDX-License-Identifier: BSD-3-Clause */
#include "file_sync.h"

void file_inode_init(struct file_inode *inode, dev_t device, ino_t number)
{
	*inode = (struct file_inode){.device = device, .number = number};
	STAILQ_INIT(&inode->waiting);
	STAILQ_INIT(&inode->upcoming);
}

/*
 * Begin a sync for all that is upcoming, by the one of its descriptors that was added first. Linux
 * reports a lost page to the descriptors that were open at that time; to one that is opened after
 * another had the report, it says nothing: open(2) begins with what has been reported.
 */
static struct file_work *begin(struct file_inode *inode)
{
	const struct file_work *work, *first = STAILQ_FIRST(&inode->upcoming);

	if (!first)
		return NULL;
	STAILQ_FOREACH(work, &inode->upcoming, entry)
		if (work->part < first->part)
			first = work;
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
