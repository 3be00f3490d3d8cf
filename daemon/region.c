/* SPDX-License-Identifier: BSD-3-Clause */
#include "region.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "holes.h"
#include "memfd.h"
#include "prefault.h"
#include "reaper.h"
#include "refusal.h"

/*
 * The last process that unmaps a file frees its pages: 60 ms for a GiB. The client may leave that
 * to us, and the event loop does not have the time for more than this.
 */
#define SLOW_BYTES ((size_t)1 << 20)

static int check_kind(int fd, uint32_t flags, int seals, struct stat *status,
		      char text[VDM_REFUSAL_TEXT])
{
	if (flags & VDM_REGION_FILE)
		return refuse(text, -EOPNOTSUPP,
			      "file-backed regions are not supported by this daemon");
	return memfd_check_kind(fd, seals, status, text);
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
		return refuse(text, -EACCES,
			      "the descriptor is open for reading only: add it as a "
			      "read-only region, or open it for both");
	if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return refuse(text, -EACCES,
			      "the memfd is sealed against writing: add it as a read-only "
			      "region");
	return 0;
}

int region_check(int fd, uint64_t size, uint32_t flags, struct region *region,
		 char text[VDM_REFUSAL_TEXT])
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct stat status = {0};

	if (size == 0 || size % page != 0)
		return refuse(text, -EINVAL,
			      "a region has to have whole pages of %llu bytes: %llu is not",
			      (unsigned long long)page, (unsigned long long)size);

	int seals = fcntl(fd, F_GET_SEALS);
	int result = check_kind(fd, flags, seals, &status, text);

	if (!result)
		result = check_mode(fd, flags, seals, text);
	if (!result)
		result = memfd_check_pages(&status, seals, size, text);
	if (result)
		return result;
	region->device = status.st_dev;
	region->inode = status.st_ino;
	return 0;
}

int region_map(struct region *region, struct prefault *prefault, int holes_fd, int fd,
	       uint64_t size, uint32_t flags, char text[VDM_REFUSAL_TEXT])
{
	const bool read_only = flags & VDM_REGION_READ_ONLY;
	/*
	 * A private mapping reads the same bytes. Of a file that the descriptor cannot write, holes
	 * can be kept in a private mapping alone: the kernel wants VM_MAYWRITE, mm/userfaultfd.c of
	 * Linux.
	 */
	void *base = mmap(NULL, size, read_only ? PROT_READ : PROT_READ | PROT_WRITE,
			  read_only && holes_fd >= 0 ? MAP_PRIVATE : MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		return refuse(text, -errno, "vdmd cannot map the memfd: %s", strerror(errno));
	/* clients' data does not belong into a core file of the daemon */
	madvise(base, size, MADV_DONTDUMP);
	/* effective where transparent_hugepage/shmem_enabled allows it */
	madvise(base, size, MADV_HUGEPAGE);
	/* if this fails, holes are filled when they are touched, within MemoryMax= of the unit */
	if (holes_fd >= 0)
		holes_keep(holes_fd, base, size);
	region->base = base;
	region->size = size;
	region->prefault = prefault_begin(prefault, base, size, !read_only, fd);
	return 0;
}

void region_dispose(struct region *region, struct prefault *prefault, struct reaper *reaper,
		    struct user *user)
{
	if (!prefault_end(prefault, region->prefault))
		return; /* its thread is at a piece, and unmaps the memory afterwards */

	struct reaper_job *job = region->size >= SLOW_BYTES ? reaper_job_new(user, 0) : NULL;

	if (!job) {
		munmap(region->base, region->size);
		return;
	}
	reaper_job_add_memory(job, region->base, region->size, false);
	reaper_submit(reaper, job);
}
