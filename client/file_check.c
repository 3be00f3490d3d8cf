/* SPDX-License-Identifier: BSD-3-Clause */
#include "file_check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "error.h"
#include "libvdm/client.h"

#define VALID_FLAGS (VDM_REGION_READONLY | VDM_REGION_EXTEND | VDM_REGION_MAP)

/* Their files have no bytes: reading and writing them calls functions of the kernel. */
static const struct {
	uint32_t magic;
	const char *name;
} made_up[] = {
	{PROC_SUPER_MAGIC, "proc"},       {SYSFS_MAGIC, "sysfs"},
	{CGROUP_SUPER_MAGIC, "cgroup"},   {CGROUP2_SUPER_MAGIC, "cgroup2"},
	{DEBUGFS_MAGIC, "debugfs"},       {TRACEFS_MAGIC, "tracefs"},
	{SECURITYFS_MAGIC, "securityfs"}, {SELINUX_MAGIC, "selinuxfs"},
	{SMACK_MAGIC, "smackfs"},         {EFIVARFS_MAGIC, "efivarfs"},
	{PSTOREFS_MAGIC, "pstore"},       {BPF_FS_MAGIC, "bpf"},
};

static int check_range(uint64_t offset, uint64_t length, unsigned flags)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (flags & ~VALID_FLAGS)
		return fail(-EINVAL, "region flags 0x%x have unknown bits", flags);
	if ((flags & VDM_REGION_READONLY) && (flags & VDM_REGION_EXTEND))
		return fail(-EINVAL, "a region that is read-only cannot extend its file");
	if (length == 0)
		return fail(-EINVAL, "a region of a file has to have at least one byte");
	if (offset % page != 0)
		return fail(-EINVAL,
			    "a region of a file has to begin at a multiple of %llu bytes: %llu is "
			    "not",
			    (unsigned long long)page, (unsigned long long)offset);
	if (length > INT64_MAX || offset > INT64_MAX - length)
		return fail(-EOVERFLOW, "no file can have %llu bytes from byte %llu on",
			    (unsigned long long)length, (unsigned long long)offset);
	return 0;
}

static int check_kind(int fd, const struct stat *status)
{
	struct statfs system;

	switch (status->st_mode & S_IFMT) {
	case S_IFREG:
		break;
	case S_IFDIR:
		return fail(-EISDIR, "descriptor %d is a directory", fd);
	case S_IFIFO:
	case S_IFSOCK:
		return fail(-ESPIPE, "descriptor %d is a pipe or a socket", fd);
	default:
		return fail(-EMEDIUMTYPE, "descriptor %d is not a regular file", fd);
	}
	if (fstatfs(fd, &system) < 0)
		return fail(-errno, "cannot find out where the file of descriptor %d lies: %s", fd,
			    strerror(errno));
	for (size_t i = 0; i < sizeof made_up / sizeof *made_up; i++)
		if (made_up[i].magic == (uint32_t)system.f_type)
			return fail(
				-EOPNOTSUPP,
				"descriptor %d is a file of %s, which the kernel makes up: open "
				"one that is stored",
				fd, made_up[i].name);
	return 0;
}

static int check_rights(int fd, int mode, bool writable)
{
	const int access = mode & O_ACCMODE;

	if (access == O_WRONLY)
		return fail(-EACCES, "descriptor %d is open for writing only: open it for both",
			    fd);
	if (writable && access == O_RDONLY)
		return fail(-EACCES,
			    "descriptor %d is open for reading only: open the region with "
			    "VDM_REGION_READONLY, or the file for both",
			    fd);
	if (mode & O_APPEND)
		return fail(-EPERM,
			    "descriptor %d is open with O_APPEND: each write would go to the end "
			    "of the file",
			    fd);
	if (mode & O_DIRECT)
		return fail(-EOPNOTSUPP,
			    "descriptor %d is open with O_DIRECT, which asks for aligned memory: "
			    "open it without",
			    fd);
	return 0;
}

static int check_seals(int fd, bool writable, bool extends)
{
	const int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0)
		return 0; /* the file system has none */
	if (writable && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
		return fail(-EACCES,
			    "the file of descriptor %d is sealed against writing: open "
			    "the region with VDM_REGION_READONLY",
			    fd);
	if (extends && (seals & F_SEAL_GROW))
		return fail(-EACCES, "the file of descriptor %d is sealed against growing", fd);
	return 0;
}

int file_check(int fd, uint64_t offset, uint64_t length, unsigned flags)
{
	const bool writable = !(flags & VDM_REGION_READONLY), extends = flags & VDM_REGION_EXTEND;
	const int mode = fcntl(fd, F_GETFL);
	struct stat status;
	int result;

	if (mode < 0 || fstat(fd, &status) < 0)
		return fail(-errno, "descriptor %d is not open: %s", fd, strerror(errno));
	if (mode & O_PATH)
		return fail(-EBADF, "descriptor %d is open with O_PATH: nothing can be read", fd);
	result = check_kind(fd, &status);
	if (!result)
		result = check_range(offset, length, flags);
	if (!result)
		result = check_rights(fd, mode, writable);
	if (!result)
		result = check_seals(fd, writable, extends);
	if (result)
		return result;
	if (!extends && offset + length > (uint64_t)status.st_size)
		return fail(-EFBIG,
			    "the region would end at byte %llu but the file has %lld bytes: use "
			    "VDM_REGION_EXTEND to extend it",
			    (unsigned long long)offset + length, (long long)status.st_size);
	return 0;
}
