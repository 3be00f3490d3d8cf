/* SPDX-License-Identifier: BSD-3-Clause */
#include "file_use.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "cmocka_test.h"
#include "ring_use.h"

bool local;
struct vdm_client *client;
struct vdm_ring *ring;
int file;
struct vdm_region *region;
char *in_file;

void file_use_arguments(int argc, char **argv)
{
	local = argc > 1 && strcmp(argv[1], "--local") == 0;
}

struct vdm_client *file_client_opened(void)
{
	const struct vdm_options options = {.size = sizeof options, .flags = VDM_OPTION_LOCAL_ONLY};
	struct vdm_client *opened = NULL;

	if (!local)
		return client_opened();
	CHECK(vdm_client_open(&options, &opened) == 0, "opening a client");
	return opened;
}

static int file_opened(size_t size)
{
	const char *folder = getenv("TMPDIR");
	char path[256];

	snprintf(path, sizeof path, "%s/vdm-files-XXXXXX", folder ? folder : "/tmp");
	int fd = mkstemp(path);

	CHECK(fd >= 0 && unlink(path) == 0 && ftruncate(fd, (off_t)size) == 0, "%s", path);
	return fd;
}

char *file_region_opened(struct vdm_client *of, int fd, uint64_t length, unsigned flags,
			 struct vdm_region **opened)
{
	int result = vdm_region_open_file(of, fd, 0, length, flags, opened);

	CHECK(result == 0, "opening a region of a file: %s", strerror(-result));
	return vdm_region_address(*opened);
}

int file_set_up(void **state)
{
	(void)state;
	client = file_client_opened();
	ring = ring_opened(client, 64, 0);
	file = file_opened(FILE_SIZE);
	in_file = file_region_opened(client, file, FILE_SIZE, 0, &region);
	return 0;
}

int file_tear_down(void **state)
{
	(void)state;
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
	close(file);
	return 0;
}

void add_copy(unsigned data, void *dest, const void *src, size_t n, unsigned flags)
{
	struct vdm_sqe *sqe = entry(ring);

	vdm_prep_memcpy(sqe, dest, src, n, flags);
	sqe->user_data = data;
}

void add_set(unsigned data, void *dest, int c, size_t n, unsigned flags)
{
	struct vdm_sqe *sqe = entry(ring);

	vdm_prep_memset(sqe, dest, c, n, flags);
	sqe->user_data = data;
}

void add_flush(unsigned data, void *dest, size_t n, unsigned flags)
{
	struct vdm_sqe *sqe = entry(ring);

	vdm_prep_flush(sqe, dest, n, flags);
	sqe->user_data = data;
}

int copy(void *dest, const void *src, size_t n, unsigned flags)
{
	add_copy(0, dest, src, n, flags);
	return run_one(ring);
}

int set(void *dest, int c, size_t n, unsigned flags)
{
	add_set(0, dest, c, n, flags);
	return run_one(ring);
}

int flush(void *dest, size_t n, unsigned flags)
{
	add_flush(0, dest, n, flags);
	return run_one(ring);
}

void assert_filled(const char *memory, int c, size_t n)
{
	assert_int_equal((unsigned char)memory[0], (unsigned char)c);
	assert_int_equal(memcmp(memory, memory + 1, n - 1), 0);
}
