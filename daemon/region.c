/* SPDX-License-Identifier: BSD-3-Clause */
#include "region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "holes.h"
#include "memfd.h"
#include "refusal.h"

static int check_seals(int seals, uint32_t flags, char text[VDM_REFUSAL_TEXT])
{
	if (!(flags & VDM_REGION_READ_ONLY) && seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return refuse(text, -EACCES,
			      "the memfd is sealed against writing: add it as a read-only "
			      "region");
	return 0;
}

int region_check(int fd, uint64_t size, uint32_t flags, struct region *region,
		 char text[VDM_REFUSAL_TEXT])
{
	struct stat status = {0};
	int seals = fcntl(fd, F_GET_SEALS);
	int result = memfd_check_kind(fd, seals, &status, text);

	if (!result)
		result = check_seals(seals, flags, text);
	if (!result)
		result = memfd_check_pages(&status, seals, size, text);
	if (result)
		return result;
	region->device = status.st_dev;
	region->inode = status.st_ino;
	return 0;
}

int region_open(struct passed *passed, uint64_t size, uint32_t flags, char text[VDM_REFUSAL_TEXT])
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (size == 0 || size % page != 0)
		return refuse(text, -EINVAL,
			      "a region has to have whole pages of %llu bytes: %llu is not",
			      (unsigned long long)page, (unsigned long long)size);
	return import_memfd(passed, !(flags & VDM_REGION_READ_ONLY), text);
}

int region_map(struct region *region, struct populate_list *populating, int holes_fd, int fd,
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
	/*
	 * No MADV_HUGEPAGE: khugepaged would fill holes, and charge huge pages to this process.
	 * Those that the client has are mapped as such.
	 */
	/* clients' data does not belong into a core file of the daemon */
	madvise(base, size, MADV_DONTDUMP);
	/* if this fails, holes are filled when they are touched, within MemoryMax= of the unit */
	if (holes_fd >= 0)
		holes_keep(holes_fd, base, size);
	region->base = base;
	region->size = size;
	populate_begin(populating, &region->populating, base, size, !read_only, fd);
	return 0;
}

void region_unmap(struct region *region, struct populate_list *populating)
{
	populate_end(populating, &region->populating);
	unmap_in_pieces(region->base, region->size);
}
