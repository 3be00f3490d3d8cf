/* SPDX-License-Identifier: BSD-3-Clause */
/* What the fuzz targets on both sides of the boundary between daemon and porter need. */
#ifndef TEST_FUZZ_BOUNDARY_H
#define TEST_FUZZ_BOUNDARY_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "proto/control.h"

/* What is left of an input. */
struct input {
	const uint8_t *bytes;
	size_t size;
};

static inline uint8_t take_byte(struct input *input)
{
	if (input->size == 0)
		return 0;
	input->size--;
	return *input->bytes++;
}

/* Returns how many there were, `size` at most; the others are zero. */
static inline size_t take_bytes(struct input *input, void *bytes, size_t size)
{
	const size_t count = size < input->size ? size : input->size;

	memset(bytes, 0, size);
	memcpy(bytes, input->bytes, count);
	input->bytes += count;
	input->size -= count;
	return count;
}

/* Whether it is a worker's, of which there may be more at any time. */
static inline bool is_of_worker(const char *number)
{
	static const char end[] = "/stat";
	char path[64], name[128];

	snprintf(path, sizeof path, "/proc/self/fd/%.20s", number);

	ssize_t length = readlink(path, name, sizeof name);

	return length >= (ssize_t)strlen(end) &&
	       memcmp(name + length - strlen(end), end, strlen(end)) == 0;
}

static inline unsigned count_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	REQUIRE(directory);
	for (struct dirent *entry; (entry = readdir(directory));)
		count += entry->d_name[0] != '.' && !is_of_worker(entry->d_name);
	closedir(directory);
	return count;
}

static inline void close_if_open(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void open_pair(int ends[2], int flags)
{
	REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0, ends) == 0);
}

/* Memory files that a client may pass: a good one, one that cannot be sealed, one without pages. */
#define MEMORY_FILES 3

#define MEMORY_FILE_BYTES 16384

static inline void open_memory_files(int files[MEMORY_FILES])
{
	static const unsigned flags[MEMORY_FILES] = {MFD_ALLOW_SEALING, 0, MFD_ALLOW_SEALING};

	for (unsigned i = 0; i < MEMORY_FILES; i++) {
		files[i] = memfd_create("fuzz", MFD_CLOEXEC | flags[i]);
		REQUIRE(files[i] >= 0);
	}
	REQUIRE(fallocate(files[0], 0, 0, MEMORY_FILE_BYTES) == 0);
	REQUIRE(fcntl(files[0], F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	REQUIRE(fallocate(files[1], 0, 0, MEMORY_FILE_BYTES) == 0);
}

#define MOST_PASSED 16

/*
 * As any process may send it: without the limits of passing_send(). `fd` is passed `count` times.
 */
static inline int send_anything(int socket, const void *bytes, size_t size, int fd, unsigned count)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * MOST_PASSED)];
	} control = {0};
	struct iovec part = {(void *)(uintptr_t)bytes, size};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

	REQUIRE(count <= MOST_PASSED);
	if (count > 0) {
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		struct cmsghdr *rights = CMSG_FIRSTHDR(&header);

		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
		for (unsigned i = 0; i < count; i++)
			memcpy(CMSG_DATA(rights) + i * sizeof fd, &fd, sizeof fd);
	}
	return sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* How many descriptors a message has, by a byte of the input: mostly none, or one. */
static inline unsigned passed_count(uint8_t how)
{
	static const uint8_t counts[8] = {0, 1, 0, 1, 2, 3, 5, 12};

	return counts[how % 8];
}

/*
 * A message of a client, as the input has it: a byte with the length (0: that of a greeting), and
 * then the bytes. Mostly its header has the size that it is sent with, or all messages would end at
 * that check. Returns that size.
 */
static inline size_t take_message(struct input *input, uint8_t how, union vdm_message *message)
{
	const uint8_t length = take_byte(input);
	const size_t size = length ? length : sizeof message->hello;
	uint8_t bytes[UINT8_MAX];

	memset(message, 0, sizeof *message);
	take_bytes(input, bytes, size);
	memcpy(message, bytes, size < sizeof *message ? size : sizeof *message);
	if (how < 128)
		message->header.size = (uint32_t)size;
	return size < sizeof *message ? size : sizeof *message;
}

static inline struct vdm_message_hello fuzz_greeting(void)
{
	return (struct vdm_message_hello){
		.header = {VDM_MESSAGE_HELLO, sizeof(struct vdm_message_hello)},
		.magic = VDM_PROTOCOL_MAGIC,
		.version = VDM_PROTOCOL_VERSION,
		.command = "fuzz"};
}

#endif
