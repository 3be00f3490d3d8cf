/* SPDX-License-Identifier: BSD-3-Clause */
#include "region.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "refusal.h"

/* st_blocks of stat(2) counts these. */
#define BLOCK 512

static int check_kind(int fd, uint32_t flags, int seals, char text[VDM_REFUSAL_TEXT])
{
	struct statfs file_system;

	if (flags & VDM_REGION_FILE)
		return refuse(text, -EOPNOTSUPP, "file-backed regions are not supported by this daemon");
	if (seals < 0 || fstatfs(fd, &file_system) < 0 ||
	    (file_system.f_type != TMPFS_MAGIC && file_system.f_type != HUGETLBFS_MAGIC))
		return refuse(text, -EMEDIUMTYPE, "the descriptor is not a memfd: only memory made with "
						  "memfd_create(2) can be a region");
	if (file_system.f_type == HUGETLBFS_MAGIC)
		return refuse(text, -EOPNOTSUPP, "the memfd is of huge pages (MFD_HUGETLB), which this "
						 "daemon does not support");
	return 0;
}

static int check_mode(int fd, uint32_t flags, int seals, char text[VDM_REFUSAL_TEXT])
{
	int mode = fcntl(fd, F_GETFL);

	if (mode < 0)
		return refuse(text, -errno, "the descriptor cannot be used: %s", strerror(errno));
	if ((mode & O_ACCMODE) == O_WRONLY || (mode & O_PATH))
		return refuse(text, -EACCES, "the descriptor is not open for reading");
	if (flags & VDM_REGION_READ_ONLY)
		return 0;
	if ((mode & O_ACCMODE) != O_RDWR)
		return refuse(text, -EACCES, "the descriptor is open for reading only: add it as a "
					     "read-only region, or open it for both");
	if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return refuse(text, -EACCES, "the memfd is sealed against writing: add it as a read-only "
					     "region");
	return 0;
}

int region_check(int fd, uint64_t size, uint32_t flags, struct region *region,
		 char text[VDM_REFUSAL_TEXT])
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct stat status;

	if (size == 0 || size % page != 0)
		return refuse(text, -EINVAL, "a region has to have whole pages of %llu bytes: %llu is not",
			      (unsigned long long)page, (unsigned long long)size);

	int seals = fcntl(fd, F_GET_SEALS);
	int result = check_kind(fd, flags, seals, text);

	if (!result)
		result = check_mode(fd, flags, seals, text);
	if (result)
		return result;
	/* Not sealed here: that could wait for a lock of the file for as long as the client likes to hold it. */
	if (!(seals & F_SEAL_SHRINK))
		return refuse(text, -EPERM, "the memfd is not sealed against shrinking: create it with "
					    "MFD_ALLOW_SEALING, and add F_SEAL_SHRINK");
	/* So its size is a fact that lasts. */
	if (fstat(fd, &status) < 0)
		return refuse(text, -errno, "the descriptor cannot be used: %s", strerror(errno));
	if (status.st_size < 0 || (uint64_t)status.st_size < size)
		return refuse(text, -EFBIG, "the region would have %llu bytes but the memfd has %lld",
			      (unsigned long long)size, (long long)status.st_size);
	/* of the whole file, for which pages of it there are is not to be had without changing its offset */
	if (status.st_blocks * BLOCK < status.st_size)
		return refuse(text, -ENODATA, "the memfd has pages that are not allocated: fallocate(2) all of "
					      "it first, so that they are charged to you");
	region->device = status.st_dev;
	region->inode = status.st_ino;
	return 0;
}

int region_map(struct prefault *prefault, int fd, uint64_t size, uint32_t flags, struct region *region,
	       char text[VDM_REFUSAL_TEXT])
{
	int protection = flags & VDM_REGION_READ_ONLY ? PROT_READ : PROT_READ | PROT_WRITE;
	void *base = mmap(NULL, size, protection, MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		return refuse(text, -errno, "vdmd cannot map the memfd: %s", strerror(errno));
	/* other processes' data does not belong into a core file of this one */
	madvise(base, size, MADV_DONTDUMP);
	/* where the system allows them for shared memory: transparent_hugepage/shmem_enabled */
	madvise(base, size, MADV_HUGEPAGE);
	region->base = base;
	region->size = size;
	region->prefault = prefault_begin(prefault, base, size, !(flags & VDM_REGION_READ_ONLY), fd);
	return 0;
}

void region_unmap(struct prefault *prefault, struct region *region)
{
	prefault_unmap(prefault, region->prefault, region->base, region->size);
}
