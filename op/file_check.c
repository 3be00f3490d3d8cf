/* SPDX-License-Identifier: BSD-3-Clause */
#include "file_check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Where the sentence of a refusal goes. */
struct sentence {
	char *text;
	size_t size;
};

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

/* Write the sentence. The value is the error. */
#define fail(sentence, error, ...)                                                                 \
	(snprintf((sentence)->text, (sentence)->size, __VA_ARGS__), (error))

static int check_range(uint64_t offset, uint64_t length, unsigned flags,
		       const struct sentence *sentence)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if ((flags & FILE_CHECK_READ_ONLY) && (flags & FILE_CHECK_EXTEND))
		return fail(sentence, -EINVAL, "a region that is read-only cannot extend its file");
	if (length == 0)
		return fail(sentence, -EINVAL, "a region of a file has to have at least one byte");
	if (offset % page != 0)
		return fail(sentence, -EINVAL,
			    "a region of a file has to begin at a multiple of %llu bytes: %llu is "
			    "not",
			    (unsigned long long)page, (unsigned long long)offset);
	if (length > INT64_MAX || offset > INT64_MAX - length)
		return fail(sentence, -EOVERFLOW, "no file can have %llu bytes from byte %llu on",
			    (unsigned long long)length, (unsigned long long)offset);
	return 0;
}

static int check_kind(int fd, const struct stat *status, const struct sentence *sentence)
{
	struct statfs system;

	switch (status->st_mode & S_IFMT) {
	case S_IFREG:
		break;
	case S_IFDIR:
		return fail(sentence, -EISDIR, "the descriptor is a directory");
	case S_IFIFO:
	case S_IFSOCK:
		return fail(sentence, -ESPIPE, "the descriptor is a pipe or a socket");
	default:
		return fail(sentence, -EMEDIUMTYPE, "the descriptor is not a regular file");
	}
	if (fstatfs(fd, &system) < 0) {
		const int error = errno;

		return fail(sentence, -error, "cannot find out where the file lies: %s",
			    strerror(error));
	}
	for (size_t i = 0; i < sizeof made_up / sizeof *made_up; i++)
		if (made_up[i].magic == (uint32_t)system.f_type)
			return fail(sentence, -EOPNOTSUPP,
				    "the descriptor is a file of %s, which the kernel makes up: "
				    "open one that is stored",
				    made_up[i].name);
	return 0;
}

static int check_rights(int mode, bool writable, const struct sentence *sentence)
{
	const int access = mode & O_ACCMODE;

	if (access == O_WRONLY)
		return fail(sentence, -EACCES,
			    "the descriptor is open for writing only: open it for both");
	if (writable && access == O_RDONLY)
		return fail(sentence, -EACCES,
			    "the descriptor is open for reading only: open the region with "
			    "VDM_REGION_READONLY, or the file for both");
	if (mode & O_APPEND)
		return fail(sentence, -EPERM,
			    "the descriptor is open with O_APPEND: each write would go to the end "
			    "of the file");
	if (mode & O_DIRECT)
		return fail(sentence, -EOPNOTSUPP,
			    "the descriptor is open with O_DIRECT, which asks for aligned memory: "
			    "open it without");
	return 0;
}

static int check_seals(int fd, bool writable, bool extends, const struct sentence *sentence)
{
	const int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0)
		return 0; /* the file system has none */
	if (writable && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
		return fail(sentence, -EACCES,
			    "the file is sealed against writing: open the region with "
			    "VDM_REGION_READONLY");
	if (extends && (seals & F_SEAL_GROW))
		return fail(sentence, -EACCES, "the file is sealed against growing");
	return 0;
}

int file_check(int fd, uint64_t offset, uint64_t length, unsigned flags, char *text, size_t size)
{
	const struct sentence sentence = {text, size};
	const bool writable = !(flags & FILE_CHECK_READ_ONLY), extends = flags & FILE_CHECK_EXTEND;
	const int mode = fcntl(fd, F_GETFL);
	struct stat status;
	int result;

	if (mode < 0 || fstat(fd, &status) < 0) {
		const int error = errno;

		return fail(&sentence, -error, "the descriptor is not open: %s", strerror(error));
	}
	if (mode & O_PATH)
		return fail(&sentence, -EBADF,
			    "the descriptor is open with O_PATH: nothing can be read");
	result = check_kind(fd, &status, &sentence);
	if (!result)
		result = check_range(offset, length, flags, &sentence);
	if (!result)
		result = check_rights(mode, writable, &sentence);
	if (!result)
		result = check_seals(fd, writable, extends, &sentence);
	if (result)
		return result;
	if (!extends && offset + length > (uint64_t)status.st_size)
		return fail(&sentence, -EFBIG,
			    "the region would end at byte %llu but the file has %lld bytes: use "
			    "VDM_REGION_EXTEND to extend it",
			    (unsigned long long)offset + length, (long long)status.st_size);
	return 0;
}
