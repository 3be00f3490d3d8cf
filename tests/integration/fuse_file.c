/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuse_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define FILE_NODE     2
#define FILE_NAME     "file"
#define MOST_WRITE    ((size_t)128 << 10)
#define MESSAGE_BYTES (MOST_WRITE + 4096)
#define MOST_HELD     32u
#define NEVER_CHANGES 3600 /* seconds for which the kernel may keep names and attributes */

struct message {
	struct fuse_in_header header;
	char body[MESSAGE_BYTES - sizeof(struct fuse_in_header)];
};

/* The child's. */
struct server {
	struct fuse_record *record;
	int fuse_fd, held_fd, kick_fd;
	unsigned held_count;
	struct held {
		struct message *message;
		uint64_t arrived;
	} held[MOST_HELD];
};

static uint64_t next_number(struct fuse_record *record)
{
	/* seq_cst: the numbers agree with what each process saw before; partner: the other one */
	return atomic_fetch_add_explicit(&record->sequence, 1, memory_order_seq_cst) + 1;
}

static void reply(const struct server *server, const struct message *message, int error,
		  const void *body, size_t size)
{
	struct fuse_out_header header = {.len = (uint32_t)(sizeof header + size),
					 .error = -error,
					 .unique = message->header.unique};
	const struct iovec parts[] = {{&header, sizeof header}, {(void *)(uintptr_t)body, size}};

	/* it may have been given up meanwhile */
	CHECK(writev(server->fuse_fd, parts, 2) >= 0 || errno == ENOENT, "%s", strerror(errno));
}

static struct fuse_attr attributes(uint64_t node)
{
	return (struct fuse_attr){.ino = node,
				  .size = node == FILE_NODE ? FUSE_BYTES : 0,
				  .blocks = node == FILE_NODE ? FUSE_BYTES / 512 : 0,
				  .mode = node == FILE_NODE ? S_IFREG | 0600 : S_IFDIR | 0700,
				  .nlink = 1,
				  .blksize = FUSE_BLOCK};
}

static void greet(const struct server *server, const struct message *message)
{
	const struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION,
					  .minor = FUSE_KERNEL_MINOR_VERSION,
					  .flags = FUSE_BIG_WRITES,
					  .max_background = MOST_HELD,
					  .congestion_threshold = MOST_HELD,
					  .max_write = MOST_WRITE};

	reply(server, message, 0, &out, sizeof out);
}

static void look_up(const struct server *server, const struct message *message)
{
	const struct fuse_entry_out out = {.nodeid = FILE_NODE,
					   .entry_valid = NEVER_CHANGES,
					   .attr_valid = NEVER_CHANGES,
					   .attr = attributes(FILE_NODE)};
	const bool found = strcmp(message->body, FILE_NAME) == 0;

	reply(server, message, found ? 0 : ENOENT, &out, found ? sizeof out : 0);
}

static void tell_attributes(const struct server *server, const struct message *message)
{
	const struct fuse_attr_out out = {.attr_valid = NEVER_CHANGES,
					  .attr = attributes(message->header.nodeid)};

	reply(server, message, 0, &out, sizeof out);
}

static void read_file(const struct server *server, const struct message *message)
{
	struct fuse_read_in in;

	memcpy(&in, message->body, sizeof in);

	const size_t there = in.offset < FUSE_BYTES ? FUSE_BYTES - in.offset : 0;

	reply(server, message, 0, server->record->bytes + in.offset,
	      in.size < there ? in.size : there);
}

static void write_file(const struct server *server, const struct message *message)
{
	struct fuse_record *record = server->record;
	struct fuse_write_in in;

	memcpy(&in, message->body, sizeof in);
	CHECK(in.offset <= FUSE_BYTES && in.size <= FUSE_BYTES - in.offset, "beyond the end");
	memcpy(record->bytes + in.offset, message->body + sizeof in, in.size);

	const uint64_t now = next_number(record), end = in.offset + in.size;

	for (uint64_t at = in.offset; at < end; at += FUSE_BLOCK - at % FUSE_BLOCK)
		/* relaxed: read when all is over; partner: the test */
		atomic_store_explicit(&record->written[at / FUSE_BLOCK], now, memory_order_relaxed);

	const struct fuse_write_out out = {.size = in.size};

	reply(server, message, 0, &out, sizeof out);
}

static void sync_file(const struct server *server, const struct message *message, uint64_t arrived)
{
	struct fuse_record *record = server->record;
	/* relaxed: this process alone writes it; read when all is over; partner: the test */
	const unsigned count = atomic_load_explicit(&record->syncs, memory_order_relaxed);

	CHECK(count < sizeof record->sync / sizeof *record->sync, "too many syncs");
	record->sync[count] = (struct fuse_sync){arrived, next_number(record)};
	atomic_store_explicit(&record->syncs, count + 1, memory_order_relaxed);
	reply(server, message, 0, NULL, 0);
}

static void hold(struct server *server, const struct message *message, uint64_t arrived)
{
	struct held *held = &server->held[server->held_count++];

	CHECK(server->held_count <= MOST_HELD, "too many requests are held");
	*held = (struct held){malloc(sizeof *message), arrived};
	CHECK(held->message, "memory");
	memcpy(held->message, message, message->header.len);
	eventfd_write(server->held_fd, 1);
}

static void handle_file(struct server *server, enum fuse_request request,
			const struct message *message, uint64_t arrived)
{
	/* acquire; partner: fuse_file_answer(), release */
	const int answer =
		atomic_load_explicit(&server->record->answers[request], memory_order_acquire);

	if (answer == FUSE_HOLD)
		hold(server, message, arrived);
	else if (answer != FUSE_ANSWER)
		reply(server, message, answer, NULL, 0);
	else if (request == FUSE_FILE_READ)
		read_file(server, message);
	else if (request == FUSE_FILE_WRITE)
		write_file(server, message);
	else if (request == FUSE_FILE_SYNC)
		sync_file(server, message, arrived);
	else
		reply(server, message, 0, NULL, 0);
}

static void handle(struct server *server, const struct message *message, uint64_t arrived)
{
	const struct fuse_open_out opened = {.open_flags = FOPEN_DIRECT_IO};
	const struct fuse_statfs_out system = {.st = {.bsize = FUSE_BLOCK, .namelen = 255}};

	switch (message->header.opcode) {
	case FUSE_INIT:
		greet(server, message);
		break;
	case FUSE_LOOKUP:
		look_up(server, message);
		break;
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		tell_attributes(server, message);
		break;
	case FUSE_OPEN:
		reply(server, message, 0, &opened, sizeof opened);
		break;
	case FUSE_STATFS:
		reply(server, message, 0, &system, sizeof system);
		break;
	case FUSE_READ:
		handle_file(server, FUSE_FILE_READ, message, arrived);
		break;
	case FUSE_WRITE:
		handle_file(server, FUSE_FILE_WRITE, message, arrived);
		break;
	case FUSE_FSYNC:
		handle_file(server, FUSE_FILE_SYNC, message, arrived);
		break;
	case FUSE_FLUSH:
		handle_file(server, FUSE_FILE_FLUSH, message, arrived);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break; /* no answer is expected */
	default:
		reply(server, message, ENOSYS, NULL, 0);
	}
}

static void handle_held(struct server *server)
{
	const unsigned count = server->held_count;
	struct held held[MOST_HELD];

	memcpy(held, server->held, sizeof held);
	server->held_count = 0;
	for (unsigned i = 0; i < count; i++) {
		handle(server, held[i].message, held[i].arrived);
		free(held[i].message);
	}
}

static _Noreturn void serve(struct server *server)
{
	static struct message message;
	struct pollfd events[] = {{.fd = server->fuse_fd, .events = POLLIN},
				  {.fd = server->kick_fd, .events = POLLIN}};
	eventfd_t count;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		CHECK(poll(events, 2, -1) > 0, "%s", strerror(errno));
		if (events[1].revents) {
			eventfd_read(server->kick_fd, &count);
			handle_held(server);
		}
		if (!events[0].revents)
			continue;
		if (read(server->fuse_fd, &message, sizeof message) < 0) {
			if (errno == ENODEV)
				_exit(0); /* it is no longer mounted */
			continue;
		}
		handle(server, &message, next_number(server->record));
	}
}

static int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	const ssize_t written = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return written < 0 ? -errno : 0;
}

/* A mount namespace, and without privilege a user namespace that may mount there. */
static int enter_namespace(void)
{
	char map[32];

	if (unshare(CLONE_NEWNS) < 0) {
		snprintf(map, sizeof map, "0 %u 1", (unsigned)geteuid());
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
			return -errno;
		if (write_text("/proc/self/uid_map", map) < 0)
			return -EPERM;
	}
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0;
}

/* Returns the descriptor by which the kernel is answered, or a negative errno. */
static int mount_at(const char *folder)
{
	char options[128];
	int result = 0, fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	snprintf(options, sizeof options, "fd=%d,rootmode=40700,user_id=0,group_id=%u", fd,
		 (unsigned)getegid());
	if (mount("vdm-test", folder, "fuse", MS_NOSUID | MS_NODEV, options) < 0)
		result = -errno;
	if (result)
		close(fd);
	return result ? result : fd;
}

int fuse_file_start(struct fuse_file *file)
{
	const char *folder = getenv("TMPDIR");
	int fd, result = enter_namespace();

	if (result)
		return result;
	snprintf(file->folder, sizeof file->folder, "%s/vdm-fuse-XXXXXX",
		 folder && strlen(folder) < 40 ? folder : "/tmp");
	if (!mkdtemp(file->folder))
		return -errno;
	fd = mount_at(file->folder);
	if (fd < 0) {
		rmdir(file->folder);
		return fd;
	}
	file->record = mmap(NULL, sizeof *file->record, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	file->held_fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	file->kick_fd = eventfd(0, EFD_CLOEXEC);
	CHECK(file->record != MAP_FAILED && file->held_fd >= 0 && file->kick_fd >= 0, "%s",
	      strerror(errno));
	file->child = fork();
	CHECK(file->child >= 0, "%s", strerror(errno));
	if (file->child == 0) {
		struct server server = {.record = file->record,
					.fuse_fd = fd,
					.held_fd = file->held_fd,
					.kick_fd = file->kick_fd};

		serve(&server);
	}
	close(fd);
	return 0;
}

void fuse_file_stop(struct fuse_file *file)
{
	umount2(file->folder, MNT_DETACH);
	kill(file->child, SIGKILL);
	waitpid(file->child, NULL, 0);
	rmdir(file->folder);
	close(file->held_fd);
	close(file->kick_fd);
	munmap(file->record, sizeof *file->record);
}

int fuse_file_open(const struct fuse_file *file)
{
	char path[sizeof file->folder + sizeof "/" FILE_NAME];

	snprintf(path, sizeof path, "%s/" FILE_NAME, file->folder);

	int fd = open(path, O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0, "%s: %s", path, strerror(errno));
	return fd;
}

void fuse_file_answer(const struct fuse_file *file, enum fuse_request request, int answer)
{
	/* release; partner: handle_file(), acquire */
	atomic_store_explicit(&file->record->answers[request], answer, memory_order_release);
	eventfd_write(file->kick_fd, 1);
}

void fuse_file_await_held(const struct fuse_file *file)
{
	eventfd_t one;

	CHECK(eventfd_read(file->held_fd, &one) == 0, "%s", strerror(errno));
}

uint64_t fuse_file_now(const struct fuse_file *file)
{
	return next_number(file->record);
}
