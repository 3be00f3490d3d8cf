/* SPDX-License-Identifier: BSD-3-Clause */
#include "memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "refusal.h"

/* The unit of st_blocks, stat(2), in bytes. */
#define BLOCK 512

int memfd_check_kind(int fd, int seals, struct stat *status, char text[VDM_REFUSAL_TEXT])
{
	struct statfs file_system;

	if (seals < 0 || fstatfs(fd, &file_system) < 0 || fstat(fd, status) < 0 ||
	    (file_system.f_type != TMPFS_MAGIC && file_system.f_type != HUGETLBFS_MAGIC))
		return refuse(text, -EMEDIUMTYPE,
			      "the descriptor is not a memfd: only memory made with "
			      "memfd_create(2) can be shared with vdmd");
	if (file_system.f_type == HUGETLBFS_MAGIC)
		return refuse(text, -EOPNOTSUPP,
			      "the memfd is of huge pages (MFD_HUGETLB), which this "
			      "daemon does not support");
	return 0;
}

int memfd_check_pages(const struct stat *status, int seals, uint64_t size,
		      char text[VDM_REFUSAL_TEXT])
{
	/*
	 * It is not sealed here: F_ADD_SEALS waits for a lock of the file, which the client may
	 * hold.
	 */
	if (!(seals & F_SEAL_SHRINK))
		return refuse(text, -EPERM,
			      "the memfd is not sealed against shrinking: create it with "
			      "MFD_ALLOW_SEALING, and add F_SEAL_SHRINK");
	/* The size was read after the seals, so the file keeps at least that. */
	if (status->st_size < 0 || (uint64_t)status->st_size < size)
		return refuse(text, -EFBIG, "%llu bytes are needed but the memfd has %lld",
			      (unsigned long long)size, (long long)status->st_size);
	/*
	 * This counts the whole file, and pages beyond its end, too. To find out which pages there
	 * are would change the file's offset. For holes that this does not see, see holes.h.
	 */
	if (status->st_blocks * BLOCK < status->st_size)
		return refuse(text, -ENODATA,
			      "the memfd has pages that are not allocated: fallocate(2) all of it "
			      "first, so that they are charged to you");
	return 0;
}

static int make(const char *name, size_t size, int protection, int flags, int seals, void **memory)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *mapped = MAP_FAILED;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) == 0)
		mapped = mmap(NULL, size, protection, MAP_SHARED | flags, fd, 0);
	if (mapped != MAP_FAILED &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | seals) == 0) {
		*memory = mapped;
		return fd;
	}

	int error = errno;

	if (mapped != MAP_FAILED)
		munmap(mapped, size);
	close(fd);
	return -error;
}

int memfd_make(const char *name, size_t size, void **memory)
{
	return make(name, size, PROT_READ | PROT_WRITE, MAP_POPULATE, F_SEAL_SEAL, memory);
}

int memfd_make_empty(const char *name, size_t size, int protection, int seals, void **memory)
{
	return make(name, size, protection, 0, seals, memory);
}

bool memfd_is_populated(int fd, size_t size)
{
	struct stat status;

	/*
	 * The size is sealed, so pages beyond it cannot stand in for missing ones. (Where the
	 * operator has memfds use large folios, one across the end hides fewer pages than it has.)
	 */
	return fstat(fd, &status) == 0 && (size_t)status.st_blocks * BLOCK >= size;
}

int memfd_open_read_only(int fd)
{
	char path[64];

	if (fchmod(fd, S_IRUSR) < 0)
		return -errno;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);

	int read_only = open(path, O_RDONLY | O_CLOEXEC);

	return read_only < 0 ? -errno : read_only;
}
