/* SPDX-License-Identifier: BSD-3-Clause */
#include "mapping.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "error.h"

/* A line of /proc/self/maps, proc(5). */
struct mapping {
	uintptr_t begin, end;
	uint64_t offset, file;
	unsigned major, minor;
	char permissions[5];
};

static bool read_mapping(FILE *maps, struct mapping *m)
{
	int fields =
		fscanf(maps, "%" SCNxPTR "-%" SCNxPTR " %4s %" SCNx64 " %x:%x %" SCNu64 "%*[^\n]",
		       &m->begin, &m->end, m->permissions, &m->offset, &m->major, &m->minor,
		       &m->file);

	return fields == 7;
}

static int check_one(const struct mapping *m, const struct stat *status, uintptr_t address,
		     bool writable)
{
	if (m->file != status->st_ino || m->major != major(status->st_dev) ||
	    m->minor != minor(status->st_dev) || m->permissions[3] != 's')
		return fail(-EINVAL, "what is mapped at %p is not the memfd with MAP_SHARED",
			    (void *)m->begin);
	if (m->offset != m->begin - address)
		return fail(-EINVAL, "the memfd is not mapped at %p from its offset 0",
			    (void *)address);
	if (m->permissions[0] != 'r')
		return fail(-EACCES, "the memfd is mapped at %p without PROT_READ",
			    (void *)m->begin);
	if (writable && m->permissions[1] != 'w')
		return fail(-EACCES,
			    "the memfd is mapped at %p without PROT_WRITE: import it with "
			    "VDM_REGION_READONLY, or map it for both",
			    (void *)m->begin);
	return 0;
}

int mapping_check(int fd, const void *address, size_t bytes, bool writable)
{
	const uintptr_t begin = (uintptr_t)address, end = begin + bytes;
	uintptr_t next = begin; /* everything before it has been checked */
	struct mapping mapping;
	struct stat status;
	int result = 0;
	FILE *maps = fopen("/proc/self/maps", "re");

	if (!maps)
		return fail(-errno,
			    "cannot read in /proc/self/maps (%s) whether the memfd is mapped at "
			    "%p: pass NULL to have it mapped",
			    strerror(errno), address);
	if (fstat(fd, &status) < 0)
		result = fail(-errno, "descriptor %d cannot be used: %s", fd, strerror(errno));
	while (!result && next < end && read_mapping(maps, &mapping) && mapping.begin <= next) {
		if (mapping.end <= next)
			continue;
		result = check_one(&mapping, &status, begin, writable);
		next = mapping.end;
	}
	fclose(maps);
	if (!result && next < end)
		result = fail(-EINVAL,
			      "nothing is mapped at %p, where the region's memory should be",
			      (void *)next);
	return result;
}
