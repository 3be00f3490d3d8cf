/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuse_server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* The kernel gives no shorter buffer a request, linux/fuse.h. */
#define REQUEST_BYTES (FUSE_MIN_READ_BUFFER + 4096)

#define FILE_NODE 2

static int device = -1;
static const char *mount_point;

int fuse_server_mount(const char *directory, uid_t owner)
{
	char options[128];

	mount_point = directory;
	mkdir(directory, 0755);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (device < 0)
		return -errno;
	snprintf(options, sizeof options, "fd=%d,rootmode=40755,user_id=%u,group_id=%u,allow_other",
		 device, owner, owner);
	return mount("attack", directory, "fuse", MS_NOSUID | MS_NODEV, options) < 0 ? -errno : 0;
}

static void reply(uint64_t unique, int error, const void *answer, size_t size)
{
	struct fuse_out_header header = {
		.len = (uint32_t)(sizeof header + size), .error = error, .unique = unique};
	struct iovec parts[] = {{&header, sizeof header}, {(void *)(uintptr_t)answer, size}};

	/* fails if the request has been interrupted */
	if (writev(device, parts, 2) < 0)
		return;
}

static struct fuse_attr attributes(uint64_t node)
{
	return (struct fuse_attr){.ino = node,
				  .mode = node == FILE_NODE ? S_IFREG | 0666 : S_IFDIR | 0755,
				  .nlink = 1,
				  .size = node == FILE_NODE ? 4096 : 0,
				  .blksize = 4096};
}

static void answer(const struct fuse_in_header *request)
{
	const struct fuse_init_out init = {.major = FUSE_KERNEL_VERSION,
					   .minor = FUSE_KERNEL_MINOR_VERSION,
					   .max_write = 4096};
	const struct fuse_entry_out entry = {.nodeid = FILE_NODE,
					     .entry_valid = 60,
					     .attr_valid = 60,
					     .attr = attributes(FILE_NODE)};
	const struct fuse_attr_out attr = {.attr_valid = 60, .attr = attributes(request->nodeid)};
	const struct fuse_open_out opened = {0};

	switch (request->opcode) {
	case FUSE_INIT:
		reply(request->unique, 0, &init, sizeof init);
		break;
	case FUSE_LOOKUP:
		reply(request->unique, 0, &entry, sizeof entry);
		break;
	case FUSE_GETATTR:
		reply(request->unique, 0, &attr, sizeof attr);
		break;
	case FUSE_OPEN:
		reply(request->unique, 0, &opened, sizeof opened);
		break;
	case FUSE_FLUSH:
	case FUSE_READ:
	case FUSE_RELEASE:
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break; /* never, or no answer is due */
	default:
		reply(request->unique, -ENOSYS, NULL, 0);
	}
}

static void serve(void)
{
	static union {
		struct fuse_in_header header;
		char bytes[REQUEST_BYTES];
	} request;

	for (;;) {
		ssize_t length = read(device, &request, sizeof request);

		if (length >= (ssize_t)sizeof request.header)
			answer(&request.header);
		else if (length < 0 && errno == ENODEV)
			_exit(0); /* unmounted */
	}
}

int fuse_server_open(void)
{
	const pid_t server = getpid();
	char path[160];

	if (fork() != 0)
		serve();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != server)
		_exit(0);
	/* At exit a process closes its files one after the other, and would wait for itself if it
	 * had the device, too. */
	close(device);
	snprintf(path, sizeof path, "%s/file", mount_point);

	int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}
