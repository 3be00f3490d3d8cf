/* SPDX-License-Identifier: BSD-3-Clause */
#include "import.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "refusal.h"

/* What Linux tells of an open file, proc_pid_fdinfo(5), without asking the file system. */
struct fdinfo {
	uint64_t flags; /* of open(2) */
	uint64_t mount, inode;
};

/* Stores the value of a line, in that base. Returns whether there is one. */
static bool find_value(const char *text, const char *key, int base, uint64_t *value)
{
	const char *found = strstr(text, key);

	if (found)
		*value = strtoull(found + strlen(key), NULL, base);
	return found;
}

/*
 * Of descriptor `fd` of the process with that directory of proc(5). Returns 0 or a negative errno.
 */
static int read_fdinfo(int process, int fd, struct fdinfo *info)
{
	char path[32], text[512];

	snprintf(path, sizeof path, "fdinfo/%d", fd);

	int file = openat(process, path, O_RDONLY | O_CLOEXEC);

	if (file < 0)
		return -errno;
	ssize_t length = read(file, text, sizeof text - 1);

	close(file); /* no client can open that file, so none has locks on it */
	if (length <= 0)
		return -EIO;
	text[length] = '\0';
	return find_value(text, "flags:", 8, &info->flags) &&
			       find_value(text, "mnt_id:", 10, &info->mount) &&
			       find_value(text, "ino:", 10, &info->inode)
		       ? 0
		       : -EIO;
}

/* Of a descriptor of this thread's. */
static int read_own_fdinfo(int fd, struct fdinfo *info)
{
	int self = open("/proc/thread-self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int result = self < 0 ? -errno : read_fdinfo(self, fd, info);

	if (self >= 0)
		close(self);
	return result;
}

static int mount_of_new_memfd(unsigned flags)
{
	int fd = memfd_create("vdm-mount", MFD_CLOEXEC | flags);
	struct fdinfo info = {0};
	int result = fd < 0 ? -errno : read_own_fdinfo(fd, &info);

	if (fd >= 0)
		close(fd);
	return result ? result : (int)info.mount;
}

static int memfds, huge_memfds; /* mounts; negative: there is none */

static void find_mounts(void)
{
	memfds = mount_of_new_memfd(0);
	huge_memfds = mount_of_new_memfd(MFD_HUGETLB);
}

static int refuse_kind(uint64_t mount, char text[VDM_REFUSAL_TEXT])
{
	if (huge_memfds >= 0 && mount == (uint64_t)huge_memfds)
		return refuse(
			text, -EOPNOTSUPP,
			"the memfd is of huge pages (MFD_HUGETLB), which this daemon does not "
			"support");
	return refuse(text, -EMEDIUMTYPE,
		      "the descriptor is not a memfd: only memory made with memfd_create(2) can be "
		      "shared with vdmd");
}

/*
 * What O_PATH opens is not used but named: neither this nor closing it asks the file system. The
 * name stays the same file, whatever the porter does meanwhile.
 */
static int open_name(int process, int fd)
{
	char path[32];

	snprintf(path, sizeof path, "fd/%d", fd);

	int name = openat(process, path, O_PATH | O_CLOEXEC);

	return name < 0 ? -errno : name;
}

/* A lease of the client's does not hold us up with O_NONBLOCK, open(2). */
static int open_named(int name, bool writable)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/thread-self/fd/%d", name);

	int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* Whether a named file is a memfd. Stores what is told of it. */
static int check_kind(int name, struct fdinfo *info, char text[VDM_REFUSAL_TEXT])
{
	/* all memfds are files of one mount, that of the kernel's own tmpfs, for good */
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int result = read_own_fdinfo(name, info);

	pthread_once(&once, find_mounts);
	if (!result && memfds < 0)
		result = memfds;
	if (result)
		return refuse(
			text, result,
			"vdmd cannot tell whether the descriptor is a memfd: proc(5) is needed");
	return info->mount == (uint64_t)memfds ? 0 : refuse_kind(info->mount, text);
}

/*
 * Whether the client's descriptor allows what is asked for. The porter may have put another file in
 * its place meanwhile: so what counts is a descriptor of the named file.
 */
static int check_mode(const struct passed *passed, const struct fdinfo *named, bool writable,
		      char text[VDM_REFUSAL_TEXT])
{
	struct fdinfo info = {0};
	int result = read_fdinfo(passed->process, passed->fd, &info);

	if (!result && (info.mount != named->mount || info.inode != named->inode))
		result = -EBADF;
	if (result)
		return refuse(text, result, "vdmd cannot take the descriptor over: %s",
			      strerror(-result));
	if ((info.flags & O_ACCMODE) == O_WRONLY || (info.flags & O_PATH))
		return refuse(text, -EACCES, "the descriptor is not open for reading");
	if (writable && (info.flags & O_ACCMODE) != O_RDWR)
		return refuse(text, -EACCES,
			      "the descriptor is open for reading only: add it as a "
			      "read-only region, or open it for both");
	return 0;
}

static int open_memfd(int name, bool writable, char text[VDM_REFUSAL_TEXT])
{
	int fd = open_named(name, writable);

	if (fd == -EACCES)
		return refuse(
			text, fd,
			"the mode of the memfd does not let vdmd open it for %s: fchmod(2) it "
			"to %s",
			writable ? "writing" : "reading", writable ? "0666" : "0444");
	if (fd < 0)
		return refuse(text, fd, "vdmd cannot open the memfd: %s", strerror(-fd));
	return fd;
}

int import_memfd(const struct passed *passed, bool writable, char text[VDM_REFUSAL_TEXT])
{
	int name = open_name(passed->process, passed->fd), result;
	struct fdinfo info = {0};

	if (name < 0)
		return refuse(text, name, "vdmd cannot take the descriptor over: %s",
			      strerror(-name));
	result = check_kind(name, &info, text);
	if (!result)
		result = check_mode(passed, &info, writable, text);
	if (!result)
		result = open_memfd(name, writable, text);
	close(name);
	return result;
}
