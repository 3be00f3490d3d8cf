/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * file_systems CHECK FOLDER: operations on files of the file system that FOLDER is on.
 *
 *   bytes   every byte is where it should be, durably or not
 *   holes   while another process punches holes, each byte is what was written, or zero
 *   full    the file system becomes full: the operation says so, and how many bytes it has stored
 *   shared  a copy between files shares their blocks
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libvdm.h>

#include "check.h"
#include "scale.h"

#define BYTES ((size_t)8 << 20)

static struct vdm_client *client;
static struct vdm_ring *ring;
static const char *folder;
static struct vdm_region *memories[4]; /* released at the end */
static unsigned memory_count;

/* A new file without a name. */
static int new_file(size_t bytes)
{
	char name[4096];

	snprintf(name, sizeof name, "%s/file-XXXXXX", folder);

	int fd = mkostemp(name, O_CLOEXEC);

	CHECK(fd >= 0, "%s: %s", name, strerror(errno));
	unlink(name);
	CHECK(ftruncate(fd, (off_t)bytes) == 0, "%s", strerror(errno));
	return fd;
}

static char *region_of(int fd, size_t bytes, unsigned flags, struct vdm_region **region)
{
	CHECK(vdm_region_open_file(client, fd, 0, bytes, flags, region) == 0, "a region of a file");
	return vdm_region_address(*region);
}

static char *memory_of(size_t bytes)
{
	struct vdm_region **region = &memories[memory_count++];

	CHECK(vdm_region_alloc(client, bytes, region) == 0, "a region");
	return vdm_region_address(*region);
}

/* Carry out what has been prepared; returns its result, and stores its value. */
static int carry_out(uint64_t *value)
{
	struct vdm_cqe *cqe;

	CHECK(vdm_ring_submit(ring) == 1, "submitting");
	CHECK(vdm_ring_wait_cqe(ring, &cqe) == 0, "waiting");

	int result = cqe->result;

	if (value)
		*value = cqe->value;
	vdm_ring_cqe_seen(ring, cqe);
	return result;
}

static int copy(char *to, const char *from, size_t length, unsigned flags, uint64_t *value)
{
	vdm_prep_memcpy(vdm_ring_get_sqe(ring), to, from, length, flags);
	return carry_out(value);
}

static void fill(char *memory, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		memory[i] = (char)(i * 131 + i / 997 + 1);
}

static void bytes(void)
{
	int fd = new_file(BYTES);
	struct vdm_region *region;
	char *file = region_of(fd, BYTES, 0, &region);
	char *memory = memory_of(BYTES), *read = memory_of(BYTES);
	char *model = calloc(1, BYTES);
	unsigned seed = 7;

	CHECK(model, "memory");
	fill(memory, BYTES);
	for (unsigned i = 0; i < 300; i++) {
		const size_t length = (size_t)rand_r(&seed) % (i % 10 ? 20000 : BYTES / 2) + 1;
		const size_t to = (size_t)rand_r(&seed) % (BYTES - length);
		const size_t from = (size_t)rand_r(&seed) % (BYTES - length);
		const unsigned flags = i % 8 == 0 ? VDM_SQE_DURABLE : 0;
		int result;

		if (i % 3 == 0) {
			result = copy(file + to, memory + from, length, flags, NULL);
			memcpy(model + to, memory + from, length);
		} else if (i % 3 == 1) {
			vdm_prep_memset(vdm_ring_get_sqe(ring), file + to, i % 2 ? 0 : (int)i % 256,
					length, flags);
			result = carry_out(NULL);
			memset(model + to, i % 2 ? 0 : (int)i % 256, length);
		} else {
			vdm_prep_memmove(vdm_ring_get_sqe(ring), file + to, file + from, length,
					 flags);
			result = carry_out(NULL);
			memmove(model + to, model + from, length);
		}
		CHECK(result == 0, "operation %u: %s", i, strerror(-result));
	}
	CHECK(copy(read, file, BYTES, 0, NULL) == 0, "reading");
	CHECK(memcmp(read, model, BYTES) == 0, "other bytes by the library");
	CHECK(pread(fd, read, BYTES, 0) == (ssize_t)BYTES, "pread");
	CHECK(memcmp(read, model, BYTES) == 0, "other bytes by pread");
	vdm_region_release(region);
	free(model);
	close(fd);
}

static _Noreturn void punch(int fd)
{
	unsigned seed = 3;

	for (;;) {
		const size_t length = (size_t)rand_r(&seed) % 100000 + 1;

		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  rand_r(&seed) % (long)(BYTES - length), (off_t)length);
	}
}

static void holes(void)
{
	int fd = new_file(BYTES);
	struct vdm_region *region;
	char *file = region_of(fd, BYTES, 0, &region);
	char *memory = memory_of(BYTES), *read = memory_of(BYTES);
	pid_t puncher;

	fill(memory, BYTES);
	puncher = fork();
	if (puncher == 0)
		punch(fd);
	CHECK(puncher > 0, "%s", strerror(errno));
	for (unsigned i = 0; i < 20; i++) {
		CHECK(copy(file, memory, BYTES, 0, NULL) == 0, "writing");
		CHECK(copy(read, file, BYTES, 0, NULL) == 0, "reading");
		for (size_t k = 0; k < BYTES; k++)
			CHECK(read[k] == 0 || read[k] == memory[k], "byte %zu", k);
	}
	kill(puncher, SIGKILL);
	waitpid(puncher, NULL, 0);
	vdm_region_release(region);
	close(fd);
}

static void full(void)
{
	int fd = new_file(0);
	struct statvfs status;
	struct vdm_region *region;
	char *memory = memory_of(BYTES), *file;
	size_t at = 0;
	int result = 0;

	CHECK(fstatvfs(fd, &status) == 0, "%s", strerror(errno));
	const size_t room = status.f_bfree * status.f_frsize + 4 * BYTES;

	file = region_of(fd, room, VDM_REGION_EXTEND, &region);
	fill(memory, BYTES);
	while (result == 0 && at + BYTES <= room) {
		uint64_t value = 0;

		result = copy(file + at, memory, BYTES, 0, &value);
		CHECK(value <= BYTES && (result || value == BYTES), "%llu bytes",
		      (unsigned long long)value);
		at += value;
	}
	CHECK(result == -ENOSPC, "%s", strerror(-result));
	CHECK(lseek(fd, 0, SEEK_END) >= (off_t)at, "fewer bytes than were told");
	for (size_t begin = 0; begin < at; begin += BYTES) {
		const size_t length = at - begin < BYTES ? at - begin : BYTES;
		char *read = malloc(BYTES);

		CHECK(read && pread(fd, read, length, (off_t)begin) == (ssize_t)length, "pread");
		CHECK(memcmp(read, memory, length) == 0, "other bytes");
		free(read);
	}
	vdm_region_release(region);
	close(fd);
}

static void shared(void)
{
	int from_fd = new_file(BYTES), to_fd = new_file(BYTES);
	struct vdm_region *from_region, *to_region;
	char *from = region_of(from_fd, BYTES, 0, &from_region);
	char *to = region_of(to_fd, BYTES, 0, &to_region);
	char *memory = memory_of(BYTES), *read = memory_of(BYTES);
	struct statvfs before, after;

	fill(memory, BYTES);
	CHECK(copy(from, memory, BYTES, VDM_SQE_DURABLE, NULL) == 0, "writing");
	syncfs(from_fd);
	CHECK(fstatvfs(from_fd, &before) == 0, "%s", strerror(errno));
	CHECK(copy(to, from, BYTES, VDM_SQE_DURABLE, NULL) == 0, "copying");
	syncfs(from_fd);
	CHECK(fstatvfs(from_fd, &after) == 0, "%s", strerror(errno));
	CHECK((before.f_bfree - after.f_bfree) * before.f_frsize < BYTES / 2 ||
		      after.f_bfree >= before.f_bfree,
	      "the copy has blocks of its own");
	CHECK(copy(read, to, BYTES, 0, NULL) == 0 && memcmp(read, memory, BYTES) == 0,
	      "other bytes");
	vdm_region_release(from_region);
	vdm_region_release(to_region);
	close(from_fd);
	close(to_fd);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*check)(void);
	} checks[] = {{"bytes", bytes}, {"holes", holes}, {"full", full}, {"shared", shared}};

	CHECK(argc == 3, "usage: file_systems CHECK FOLDER");
	guard_against_hanging(120);
	folder = argv[2];
	CHECK(vdm_client_open(NULL, &client) == 0, "a client");
	CHECK(vdm_ring_open(client, NULL, &ring) == 0, "a ring");
	for (unsigned i = 0; i < sizeof checks / sizeof *checks; i++)
		if (strcmp(argv[1], checks[i].name) == 0)
			checks[i].check();
	vdm_ring_close(ring);
	while (memory_count > 0)
		vdm_region_release(memories[--memory_count]);
	vdm_client_close(client);
	return 0;
}
