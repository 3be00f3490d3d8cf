/* SPDX-License-Identifier: BSD-3-Clause */
#include "import.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "refusal.h"

/*
 * The mount that a descriptor's file is on, or a negative errno. Linux tells that without asking
 * the file system, which statx(2) and fstatfs(2) do not.
 */
static int mount_of(int fd)
{
	char path[64], text[512];
	const char *found;

	snprintf(path, sizeof path, "/proc/thread-self/fdinfo/%d", fd);

	int info = open(path, O_RDONLY | O_CLOEXEC);

	if (info < 0)
		return -errno;
	ssize_t length = read(info, text, sizeof text - 1);

	close(info); /* no client can open that file, so none has locks on it */
	if (length <= 0)
		return -EIO;
	text[length] = '\0';
	found = strstr(text, "mnt_id:");
	return found ? atoi(found + strlen("mnt_id:")) : -EIO;
}

static int mount_of_new_memfd(unsigned flags)
{
	int fd = memfd_create("vdm-mount", MFD_CLOEXEC | flags);
	int result = fd < 0 ? -errno : mount_of(fd);

	if (fd >= 0)
		close(fd);
	return result;
}

static int memfds, huge_memfds; /* mounts; negative: there is none */

static void find_mounts(void)
{
	memfds = mount_of_new_memfd(0);
	huge_memfds = mount_of_new_memfd(MFD_HUGETLB);
}

static int refuse_kind(int mount, char text[VDM_REFUSAL_TEXT])
{
	if (huge_memfds >= 0 && mount == huge_memfds)
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

/* Whether a named file is a memfd. */
static int check_kind(int name, char text[VDM_REFUSAL_TEXT])
{
	/* all memfds are files of one mount, that of the kernel's own tmpfs, for good */
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const int mount = mount_of(name);

	pthread_once(&once, find_mounts);
	if (mount < 0 || memfds < 0)
		return refuse(
			text, mount < 0 ? mount : memfds,
			"vdmd cannot tell whether the descriptor is a memfd: proc(5) is needed");
	return mount == memfds ? 0 : refuse_kind(mount, text);
}

static int check_access(bool readable, bool suffices, char text[VDM_REFUSAL_TEXT])
{
	if (!readable)
		return refuse(text, -EACCES, "the descriptor is not open for reading");
	if (!suffices)
		return refuse(text, -EACCES,
			      "the descriptor is open for reading only: add it as a "
			      "read-only region, or open it for both");
	return 0;
}

/*
 * Whether the client's descriptor allows what is asked for: that is told by the link to it, which
 * names no lock of the file. A porter that has been taken over can put another descriptor there
 * meanwhile. Its user gains nothing: any process may open a memfd anew that it has a descriptor of,
 * for what the file's own mode and seals allow.
 */
static int check_mode(const struct passed *passed, bool writable, char text[VDM_REFUSAL_TEXT])
{
	struct stat link;
	char path[32];

	snprintf(path, sizeof path, "fd/%d", passed->fd);
	if (fstatat(passed->process, path, &link, AT_SYMLINK_NOFOLLOW) < 0)
		return refuse(text, -errno, "vdmd cannot take the descriptor over: %s",
			      strerror(errno));
	return check_access(link.st_mode & S_IRUSR, !writable || link.st_mode & S_IWUSR, text);
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

/* region_check() finds out what it is a descriptor of. */
static int take(struct passed *passed, bool writable, char text[VDM_REFUSAL_TEXT])
{
	const int mode = fcntl(passed->fd, F_GETFL) & O_ACCMODE;
	int result = check_access(mode != O_WRONLY, !writable || mode != O_RDONLY, text);

	return result ? result : passed_take(passed);
}

int import_memfd(struct passed *passed, bool writable, char text[VDM_REFUSAL_TEXT])
{
	if (passed->process < 0)
		return take(passed, writable, text);

	int name = open_name(passed->process, passed->fd), result;

	if (name < 0)
		return refuse(text, name, "vdmd cannot take the descriptor over: %s",
			      strerror(-name));
	result = check_kind(name, text);
	if (!result)
		result = check_mode(passed, writable, text);
	if (!result)
		result = open_memfd(name, writable, text);
	close(name);
	return result;
}
