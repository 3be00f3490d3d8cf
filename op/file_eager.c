/* SPDX-License-Identifier: BSD-3-Clause */
#include "file_eager.h"

#include <linux/magic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"

/* A write of so many bytes takes less than a tenth of this if it does not wait. */
#define SLOW_NS 2000000

/* Writes that are left to others after one that was slow. */
#define WARY 256

/* linux/magic.h of older systems has not all of them. */
static const uint32_t local_systems[] = {
	EXT4_SUPER_MAGIC,
	0x58465342, /* XFS_SUPER_MAGIC of Linux's XFS */
	BTRFS_SUPER_MAGIC,
	F2FS_SUPER_MAGIC,
};

void file_eager_init(struct file_eager *eager, int fd)
{
	struct statfs system;

	*eager = (struct file_eager){0};
	if (fstatfs(fd, &system) < 0)
		return;
	for (size_t i = 0; i < sizeof local_systems / sizeof *local_systems; i++)
		if (local_systems[i] == (uint32_t)system.f_type)
			eager->local = true;
}

/* Whether this write is to be left to others. */
static bool is_wary(struct file_eager *eager)
{
	const unsigned wary = atomic_load_explicit(&eager->wary, memory_order_relaxed);

	if (wary > 0)
		atomic_store_explicit(&eager->wary, wary - 1, memory_order_relaxed);
	return wary > 0;
}

bool file_eager_write(struct file_eager *eager, struct file_work *work)
{
	if (!eager->local || work->action != FILE_WRITE || work->left > FILE_MOST_AT_ONCE ||
	    is_wary(eager))
		return false;

	const uint64_t begin = monotonic_ns();
	const ssize_t moved = pwrite(work->fd, work->memory, work->left, (off_t)work->position);

	if (monotonic_ns() - begin > SLOW_NS)
		atomic_store_explicit(&eager->wary, WARY, memory_order_relaxed);
	if (moved <= 0)
		return false;
	file_work_advance(work, (size_t)moved);
	return work->left == 0;
}
