/* SPDX-License-Identifier: BSD-3-Clause */
#include "region_memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "libvdm/client.h"

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

size_t region_memfd_size(size_t bytes)
{
	return (bytes + page_size() - 1) & ~(page_size() - 1);
}

int region_memfd_map(int fd, size_t size, bool writable, char **address)
{
	void *mapping =
		mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);

	if (mapping == MAP_FAILED)
		return -errno;
	*address = mapping;
	return 0;
}

/*
 * Allocate pages through their mapping: they may be huge ones where the system allows that for
 * shared memory (transparent_hugepage/shmem_enabled), and then the daemon maps them in a 300th of
 * the time.
 */
static int allocate_mapped(void *address, size_t size)
{
	int result;

	madvise(address, size, MADV_HUGEPAGE);
	do
		result = madvise(address, size, MADV_POPULATE_WRITE);
	while (result < 0 && (errno == EINTR || errno == EAGAIN));
	/* where a store would have raised SIGBUS: the file system is full (madvise(2)) */
	return result == 0 ? 0 : errno == EFAULT ? -ENOMEM : -errno;
}

int region_memfd_make(size_t size, int *fd, char **address)
{
	int file = memfd_create("vdm-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char *mapping = NULL;
	int result;

	if (file < 0)
		return -errno;
	if (ftruncate(file, (off_t)size) < 0 ||
	    fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		result = -errno;
	else
		result = region_memfd_map(file, size, true, &mapping);
	if (!result) {
		result = allocate_mapped(mapping, size);
		if (result)
			munmap(mapping, size);
	}
	if (result) {
		close(file);
		return result;
	}
	*fd = file;
	*address = mapping;
	return 0;
}

static int not_a_memfd(int fd)
{
	return fail(-EMEDIUMTYPE,
		    "descriptor %d is not a memfd: only memory of memfd_create(2) can be a region",
		    fd);
}

/* A file on a tmpfs, of shm_open(3) for example, looks like a memfd that cannot be sealed. Only its
 * name differs. */
static bool is_memfd(int fd)
{
	static const char memfd[] = "/memfd:";
	char path[64], name[sizeof memfd] = "";

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (readlink(path, name, sizeof name - 1) < 0)
		return true; /* it may be one */
	return strcmp(name, memfd) == 0;
}

static int check_writable(int fd, int mode, int seals)
{
	if ((mode & O_ACCMODE) != O_RDWR)
		return fail(-EACCES,
			    "descriptor %d is open for reading only: import it with "
			    "VDM_REGION_READONLY, or open it for both",
			    fd);
	if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return fail(
			-EACCES,
			"the memfd is sealed against writing: import it with VDM_REGION_READONLY");
	return 0;
}

static int seal_size(int fd, int seals)
{
	if ((seals & F_SEAL_SHRINK) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0)
		return 0;
	if (!is_memfd(fd))
		return not_a_memfd(fd);
	return fail(-EPERM,
		    "the memfd cannot be sealed against shrinking (%s): create it with "
		    "MFD_ALLOW_SEALING, and seal it before it is opened read-only",
		    strerror(errno));
}

/* Checks what the daemon checks too, so that a file is refused without a daemon just as with
 * one. */
int region_memfd_check(int fd, size_t bytes, unsigned flags)
{
	struct stat status;
	int mode = fcntl(fd, F_GETFL), seals, result = 0;

	if (mode < 0 || fstat(fd, &status) < 0)
		return fail(-errno, "descriptor %d cannot be used: %s", fd, strerror(errno));
	if (flags & ~VDM_REGION_READONLY)
		return fail(-EINVAL, "region flags 0x%x have unknown bits", flags);
	if (bytes == 0 || bytes % page_size() != 0)
		return fail(-EINVAL,
			    "a region has to have whole pages of %zu bytes: %zu is not a multiple",
			    page_size(), bytes);
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0)
		return not_a_memfd(fd);
	if (!(flags & VDM_REGION_READONLY))
		result = check_writable(fd, mode, seals);
	if (!result)
		result = seal_size(fd, seals);
	if (result)
		return result;
	/* only now: the file cannot become shorter any more */
	if (fstat(fd, &status) < 0 || (size_t)status.st_size < bytes)
		return fail(-EFBIG, "the region would have %zu bytes but the memfd has %lld", bytes,
			    (long long)status.st_size);
	return 0;
}

/* fallocate(2) can be interrupted after any part of its work. What it has allocated stays. */
static int allocate_pages(int fd, size_t size)
{
	int result;

	do
		result = fallocate(fd, 0, 0, (off_t)size);
	while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : 0;
}

/* Allocate the pages of a file that cannot be written: reading a page that is not there allocates
 * it too. */
static int touch_pages(int fd, size_t size)
{
	char *pages = NULL;
	int result = region_memfd_map(fd, size, false, &pages);

	if (result)
		return result;
	if (madvise(pages, size, MADV_POPULATE_READ) < 0)
		result = -errno;
	munmap(pages, size);
	return result;
}

int region_memfd_fill(int fd, bool writable)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (status.st_blocks * 512 >= status.st_size)
		return 0;
	return (writable ? allocate_pages : touch_pages)(fd, (size_t)status.st_size);
}
