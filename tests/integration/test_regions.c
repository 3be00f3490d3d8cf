/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions: where they come from, what is refused and why, and what happens when they go. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "cmocka_test.h"
#include "process_figures.h"
#include "ring_use.h"
#include "scale.h"

#define BYTES ((size_t)64 << 10)

static struct vdm_client *client;
static struct vdm_ring *ring;

static int set_up(void **state)
{
	(void)state;
	client = client_opened();
	ring = ring_opened(client, 64, 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	vdm_ring_close(ring);
	vdm_client_close(client);
	return 0;
}

/* Run what was prepared; the two lanes give the same bytes, so only the counters tell which it was.
 */
static void run_offloaded(void)
{
	uint64_t before = counters_of(client).offloaded;

	assert_int_equal(run_one(ring), 0);
	assert_int_equal(counters_of(client).offloaded - before, 1);
}

static int memory_file(size_t bytes, unsigned flags)
{
	int fd = memfd_create("test", MFD_CLOEXEC | flags);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static void refused(int fd, void *address, size_t bytes, unsigned flags, int error)
{
	struct vdm_region *region = NULL;
	int result = vdm_region_import(client, fd, address, bytes, flags, &region);

	if (result != error)
		fprintf(stderr, "got %d (%s), wanted %d (%s): %s\n", result, strerror(-result),
			error, strerror(-error), vdm_last_error());
	assert_int_equal(result, error);
	assert_null(region);
	assert_true(strlen(vdm_last_error()) > 10);
	assert_null(strchr(vdm_last_error(), '\n'));
}

static void allocated_memory_is_zeroed_and_whole_pages(void **state)
{
	static const size_t sizes[] = {1, 4095, 4096, 4097, 1 << 20};

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct vdm_region *region;
		char *memory = region_opened(client, sizes[i], &region);
		size_t size = vdm_region_size(region);

		assert_int_equal(size, (sizes[i] + 4095) / 4096 * 4096);
		for (size_t n = 0; n < size; n++)
			assert_int_equal(memory[n], 0);
		vdm_prep_memset(entry(ring), memory, 7, size, 0);
		run_offloaded();
		assert_int_equal(memory[size - 1], 7);
		assert_true(vdm_region_fd(region) >= 0);
		assert_int_equal(vdm_region_release(region), 0);
	}
}

static void absurd_sizes_are_refused(void **state)
{
	struct vdm_region *region = NULL;

	(void)state;
	assert_int_equal(vdm_region_alloc(client, 0, &region), -EINVAL);
	assert_int_equal(vdm_region_alloc(client, SIZE_MAX, &region), -EINVAL);
	assert_int_equal(vdm_region_alloc(client, SIZE_MAX - 5000, &region), -EINVAL);
	assert_null(region);
}

static void imported_where_the_library_maps_it(void **state)
{
	int fd = memory_file(BYTES, MFD_ALLOW_SEALING);
	struct vdm_region *region;

	(void)state;
	assert_int_equal(vdm_region_import(client, fd, NULL, BYTES, 0, &region), 0);
	assert_true(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK);
	char *memory = vdm_region_address(region);
	char *own = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, fd, 0);

	vdm_prep_memset(entry(ring), memory, 0x5a, BYTES, 0);
	run_offloaded();
	for (size_t i = 0; i < BYTES; i++)
		assert_int_equal(own[i], 0x5a);
	munmap(own, BYTES);
	close(fd);
	assert_int_equal(vdm_region_release(region), 0);
}

static void imported_where_the_program_has_mapped_it(void **state)
{
	int fd = memory_file(BYTES, MFD_ALLOW_SEALING);
	char *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct vdm_region *region;

	(void)state;
	memcpy(memory, "abc", 3);
	assert_int_equal(vdm_region_import(client, fd, memory, BYTES, 0, &region), 0);
	close(fd);
	assert_ptr_equal(vdm_region_address(region), memory);
	vdm_prep_memcpy(entry(ring), memory + BYTES - 3, memory, 3, 0);
	run_offloaded();
	assert_memory_equal(memory + BYTES - 3, "abc", 3);
	assert_int_equal(vdm_region_release(region), 0);
	/* the mapping is the program's, so it is still there */
	assert_memory_equal(memory, "abc", 3);
	munmap(memory, BYTES);
}

static void part_of_a_file_can_be_imported(void **state)
{
	int fd = memory_file(4 * BYTES, MFD_ALLOW_SEALING);
	struct vdm_region *region;

	(void)state;
	assert_int_equal(vdm_region_import(client, fd, NULL, BYTES, 0, &region), 0);
	assert_int_equal(vdm_region_size(region), BYTES);
	close(fd);
	vdm_region_release(region);
}

static void refusals_each_have_their_errno(void **state)
{
	struct vdm_region *region;
	char path[] = "/tmp/vdmd-test-file.XXXXXX";
	int file = mkstemp(path);
	int good = memory_file(BYTES, MFD_ALLOW_SEALING);
	int unsealable = memory_file(BYTES, 0);
	int frozen = memory_file(BYTES, MFD_ALLOW_SEALING);
	int event = eventfd(0, EFD_CLOEXEC);
	/* on tmpfs: it is like a memfd in much */
	int shared = shm_open("/vdmd-test-shared", O_RDWR | O_CREAT, 0600);
	int ends[2];
	char link[64];

	(void)state;
	assert_true(shared >= 0);
	shm_unlink("/vdmd-test-shared");
	assert_int_equal(ftruncate(shared, (off_t)BYTES), 0);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(ftruncate(file, (off_t)BYTES), 0);
	assert_int_equal(fcntl(frozen, F_ADD_SEALS, F_SEAL_SEAL), 0);
	snprintf(link, sizeof link, "/proc/self/fd/%d", good);
	int read_only = open(link, O_RDONLY | O_CLOEXEC);

	refused(good, NULL, 0, 0, -EINVAL);
	refused(good, NULL, BYTES - 1, 0, -EINVAL);
	refused(good, NULL, BYTES, 1u << 20, -EINVAL);
	refused(unsealable, NULL, BYTES, 0, -EPERM);
	refused(frozen, NULL, BYTES, 0, -EPERM);
	refused(file, NULL, BYTES, 0, -EMEDIUMTYPE);
	refused(shared, NULL, BYTES, 0, -EMEDIUMTYPE);
	refused(event, NULL, BYTES, 0, -EMEDIUMTYPE);
	refused(ends[0], NULL, BYTES, 0, -EMEDIUMTYPE);
	refused(-1, NULL, BYTES, 0, -EBADF);
	refused(9999, NULL, BYTES, 0, -EBADF);
	refused(read_only, NULL, BYTES, 0, -EACCES);
	refused(good, NULL, 2 * BYTES, 0, -EFBIG);

	assert_int_equal(vdm_region_import(client, good, NULL, BYTES, 0, &region), 0);
	refused(good, NULL, BYTES, 0, -EEXIST);
	refused(read_only, NULL, BYTES, VDM_REGION_READONLY, -EEXIST);
	assert_int_equal(vdm_region_release(region), 0);
	/* and once it is released, no more */
	assert_int_equal(vdm_region_import(client, good, NULL, BYTES, 0, &region), 0);
	assert_int_equal(vdm_region_release(region), 0);

	unlink(path);
	const int fds[] = {file, good, unsealable, frozen, event, ends[0], ends[1], read_only};

	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		close(fds[i]);
}

static void read_only_regions_are_sources_only(void **state)
{
	int fd = memory_file(BYTES, MFD_ALLOW_SEALING);
	struct vdm_region *region, *other;
	char *memory, *dest = region_opened(client, BYTES, &other);
	char link[64];

	(void)state;
	assert_int_equal(pwrite(fd, "content", 7, 0), 7);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0); /* as the reader cannot */
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	int read_only = open(link, O_RDONLY | O_CLOEXEC);

	assert_int_equal(vdm_region_import(client, read_only, NULL, BYTES, VDM_REGION_READONLY,
					   &region),
			 0);
	memory = vdm_region_address(region);
	vdm_prep_memcpy(entry(ring), dest, memory, BYTES, 0);
	run_offloaded();
	assert_memory_equal(dest, "content", 8);
	vdm_prep_memcpy(entry(ring), memory, dest, BYTES, 0);
	assert_int_equal(run_one(ring), -EACCES);
	vdm_prep_memset(entry(ring), memory + 100, 1, 1, 0);
	assert_int_equal(run_one(ring), -EACCES);
	assert_memory_equal(memory, "content", 8);
	vdm_region_release(region);
	vdm_region_release(other);
	close(read_only);
	close(fd);
}

/* Sealed against writing through new mappings, so it can only be read. */
static void write_sealed_files_need_the_read_only_flag(void **state)
{
	int fd = memory_file(BYTES, MFD_ALLOW_SEALING);
	struct vdm_region *region;

	(void)state;
	assert_int_equal(fallocate(fd, 0, 0, (off_t)BYTES), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE), 0);
	refused(fd, NULL, BYTES, 0, -EACCES);
	assert_int_equal(vdm_region_import(client, fd, NULL, BYTES, VDM_REGION_READONLY, &region),
			 0);
	vdm_region_release(region);
	close(fd);
}

/* Operations in flight either have moved all of their bytes or failed, and nothing else suffers. */
static void release_while_operations_run(void **state)
{
	const size_t large = (size_t)32 << 20;
	struct vdm_region *stays, *goes;
	char *base = region_opened(client, large, &stays);

	(void)state;
	for (int round = 1; round <= (int)scaled(30); round++) {
		int32_t results[8];
		char *memory = region_opened(client, large, &goes);

		for (unsigned i = 0; i < 8; i++) {
			struct vdm_sqe *sqe = entry(ring);

			if (i % 2)
				vdm_prep_memset(sqe, base + i * 1000, round, 1000, 0);
			else
				vdm_prep_memset(sqe, memory + i * (large / 8), round, large / 8, 0);
			sqe->user_data = i;
		}
		assert_int_equal(vdm_ring_submit(ring), 8);
		assert_int_equal(vdm_region_release(goes), 0);
		run_all(ring, 8, results, NULL);
		for (unsigned i = 0; i < 8; i++) {
			if (i % 2) {
				assert_int_equal(results[i], 0);
				assert_int_equal(base[i * 1000 + 999], round);
			} else if (results[i] != 0) {
				assert_int_equal(results[i], -EFAULT);
			}
		}
	}
	vdm_region_release(stays);
}

/* The daemon has mapped two files for each ring and one for each region, and no other. This takes a
 * moment, because its threads first finish what they are doing. */
static void await_mappings(void)
{
	for (;;) {
		struct daemon_figures figures = daemon_figures();

		if (count_memfd_mappings(daemon_pid()) == 2 * figures.rings + figures.regions)
			return;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
}

static void released_regions_leave_the_daemon(void **state)
{
	uint32_t regions = daemon_figures().regions;
	struct vdm_region *region[20];

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		region_opened(client, 4096 * (i + 1), &region[i]);
	assert_int_equal(daemon_figures().regions, regions + 20);
	await_mappings();
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(vdm_region_release(region[(i * 7) % 20]), 0);
	assert_int_equal(daemon_figures().regions, regions);
	await_mappings();
}

/* Adding and removing regions goes on beside operations on others. */
static void regions_come_and_go_beside_operations(void **state)
{
	struct vdm_region *stays;
	char *memory = region_opened(client, BYTES, &stays);

	(void)state;
	for (unsigned round = 0; round < scaled(300); round++) {
		struct vdm_region *region;
		char *other = region_opened(client, BYTES, &region);

		for (unsigned i = 0; i < 32; i++) {
			struct vdm_sqe *sqe = entry(ring);

			if (i % 2)
				vdm_prep_memset(sqe, other + i * 64, (int)round, 64, 0);
			else
				vdm_prep_memset(sqe, memory + i * 64, (int)round, 64, 0);
			sqe->user_data = i;
		}
		run_all(ring, 32, NULL, NULL);
		for (unsigned i = 0; i < 32; i++)
			assert_int_equal((unsigned char)(i % 2 ? other : memory)[i * 64 + 63],
					 round & 0xff);
		vdm_region_release(region);
	}
	vdm_region_release(stays);
}

static void a_child_sees_what_was_moved(void **state)
{
	struct vdm_region *region;
	char *memory = region_opened(client, BYTES, &region);
	int ends[2], status;
	char go;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid_t child = fork();

	if (child == 0) {
		CHECK(read(ends[0], &go, 1) == 1, "the parent has gone");
		for (size_t i = 0; i < BYTES; i++)
			CHECK(memory[i] == 0x77, "byte %zu is %d", i, memory[i]);
		_exit(0);
	}
	vdm_prep_memset(entry(ring), memory, 0x77, BYTES, 0);
	run_offloaded();
	assert_int_equal(write(ends[1], "g", 1), 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(ends[0]);
	close(ends[1]);
	vdm_region_release(region);
}

static void too_many_regions_are_refused(void **state)
{
	struct vdm_client_info info = {.size = sizeof info};
	struct vdm_region **region;
	unsigned count = 0;
	int result = 0;

	(void)state;
	assert_int_equal(vdm_client_info(client, &info), 0);
	region = calloc(info.max_regions + 1, sizeof *region);
	assert_non_null(region);
	while (count <= info.max_regions) {
		result = vdm_region_alloc(client, 4096, &region[count]);
		if (result)
			break;
		count++;
	}
	assert_int_equal(count, info.max_regions);
	assert_true(result == -E2BIG || result == -EDQUOT);
	assert_true(strlen(vdm_last_error()) > 10);
	while (count > 0)
		vdm_region_release(region[--count]);
	free(region);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(allocated_memory_is_zeroed_and_whole_pages),
		cmocka_unit_test(absurd_sizes_are_refused),
		cmocka_unit_test(imported_where_the_library_maps_it),
		cmocka_unit_test(imported_where_the_program_has_mapped_it),
		cmocka_unit_test(part_of_a_file_can_be_imported),
		cmocka_unit_test(refusals_each_have_their_errno),
		cmocka_unit_test(read_only_regions_are_sources_only),
		cmocka_unit_test(write_sealed_files_need_the_read_only_flag),
		cmocka_unit_test(release_while_operations_run),
		cmocka_unit_test(released_regions_leave_the_daemon),
		cmocka_unit_test(regions_come_and_go_beside_operations),
		cmocka_unit_test(a_child_sees_what_was_moved),
		cmocka_unit_test(too_many_regions_are_refused),
	};

	guard_against_hanging(60);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
