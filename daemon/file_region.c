/* SPDX-License-Identifier: BSD-3-Clause */
#include "file_region.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "op/file_check.h"
#include "op/files.h"
#include "refusal.h"
#include "region.h"

/* Whether a write makes pages that no file system can write back. */
static int check_system(int fd, char text[VDM_REFUSAL_TEXT])
{
	struct statfs system;

	if (fstatfs(fd, &system) < 0)
		return refuse(text, -errno, "vdmd cannot find out where the file lies: %s",
			      strerror(errno));
	switch ((uint32_t)system.f_type) {
	case TMPFS_MAGIC:
	case RAMFS_MAGIC:
	case HUGETLBFS_MAGIC:
		return refuse(text, -EOPNOTSUPP,
			      "the file lies in memory (tmpfs, ramfs or hugetlbfs): what is "
			      "written to it would be charged to vdmd");
	}
	return 0;
}

int file_region_open(struct passed *passed, const struct vdm_message_file_add *add,
		     char text[VDM_REFUSAL_TEXT])
{
	int result = file_check(passed->fd, add->offset, add->size,
				(add->flags & VDM_REGION_READ_ONLY ? FILE_CHECK_READ_ONLY : 0) |
					(add->flags & VDM_REGION_EXTEND ? FILE_CHECK_EXTEND : 0),
				text, VDM_REFUSAL_TEXT);

	if (!result)
		result = check_system(passed->fd, text);
	return result ? result : passed_take(passed);
}

int file_region_add(struct region *region, struct files *files, int fd,
		    const struct vdm_message_file_add *add, char text[VDM_REFUSAL_TEXT])
{
	void *base = NULL;
	int result = files_add(files, fd, add->offset, add->size,
			       (add->flags & VDM_REGION_READ_ONLY ? 0 : FILES_WRITABLE) |
				       (add->flags & VDM_REGION_EXTEND ? FILES_EXTEND : 0),
			       &base);

	if (result)
		return refuse(text, result, "vdmd cannot add %llu bytes of the file: %s",
			      (unsigned long long)add->size, strerror(-result));
	region->base = base;
	region->size = add->size;
	region->files = files;
	return 0;
}

void file_region_remove(struct region *region)
{
	files_remove(region->files, region->base);
}
