/* SPDX-License-Identifier: BSD-3-Clause */
/* test_files_region [--local]: which files can be regions, and what operations on them do. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmocka_test.h"
#include "file_use.h"
#include "ring_use.h"
#include "scale.h"

/* The region is refused with that error, and with a sentence that has these words. */
static void assert_refused(int fd, uint64_t offset, uint64_t length, unsigned flags, int error,
			   const char *words)
{
	struct vdm_region *refused = NULL;

	assert_int_equal(vdm_region_open_file(client, fd, offset, length, flags, &refused), -error);
	assert_null(refused);
	if (!strstr(vdm_last_error(), words))
		fail_msg("no \"%s\" in: %s", words, vdm_last_error());
}

static void assert_path_refused(const char *path, int mode, unsigned flags, int error,
				const char *words)
{
	int fd = open(path, mode | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_refused(fd, 0, PAGE, flags, error, words);
	close(fd);
}

static void what_is_not_a_file_with_bytes_is_refused(void **state)
{
	(void)state;
	assert_refused(-1, 0, PAGE, 0, EBADF, "-1");
	assert_path_refused("/tmp", O_RDONLY, VDM_REGION_READONLY, EISDIR, "directory");
	assert_path_refused("/dev/zero", O_RDWR, 0, EMEDIUMTYPE, "regular");
	assert_path_refused("/proc/self/status", O_RDONLY, VDM_REGION_READONLY, EOPNOTSUPP, "proc");
	assert_path_refused("/proc/self/exe", O_PATH, VDM_REGION_READONLY, EBADF, "O_PATH");

	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_refused(fds[0], 0, PAGE, VDM_REGION_READONLY, ESPIPE, "pipe");
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_refused(fds[0], 0, PAGE, 0, ESPIPE, "socket");
	close(fds[0]);
	close(fds[1]);
	if (access("/sys/kernel/mm", R_OK) == 0)
		assert_path_refused("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY,
				    VDM_REGION_READONLY, EOPNOTSUPP, "sysfs");
}

static void what_the_descriptor_does_not_allow_is_refused(void **state)
{
	char path[64];
	int sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	(void)state;
	snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	assert_path_refused(path, O_RDONLY, 0, EACCES, "VDM_REGION_READONLY");
	assert_path_refused(path, O_WRONLY, 0, EACCES, "writing only");
	assert_path_refused(path, O_RDWR | O_APPEND, 0, EPERM, "O_APPEND");
	assert_int_equal(ftruncate(sealed, (off_t)PAGE), 0);
	assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_GROW), 0);
	assert_refused(sealed, 0, PAGE, VDM_REGION_EXTEND, EACCES, "growing");
	assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_refused(sealed, 0, PAGE, 0, EACCES, "sealed");
	close(sealed);

	/* not every file system has it */
	int direct = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (direct >= 0) {
		assert_refused(direct, 0, PAGE, 0, EOPNOTSUPP, "O_DIRECT");
		close(direct);
	}
}

static void ranges_that_no_region_can_have_are_refused(void **state)
{
	(void)state;
	assert_refused(file, 0, 0, 0, EINVAL, "one byte");
	assert_refused(file, 1, PAGE, 0, EINVAL, "multiple");
	assert_refused(file, 0, PAGE, 1u << 31, EINVAL, "unknown");
	assert_refused(file, 0, PAGE, VDM_REGION_READONLY | VDM_REGION_EXTEND, EINVAL, "read-only");
	assert_refused(file, 0, FILE_SIZE + 1, 0, EFBIG, "VDM_REGION_EXTEND");
	assert_refused(file, 16 * PAGE, 124, 0, EFBIG, "VDM_REGION_EXTEND");
	assert_refused(file, 0, UINT64_MAX, VDM_REGION_EXTEND, EOVERFLOW, "no file");
	assert_refused(file, (uint64_t)1 << 62, (uint64_t)1 << 62, VDM_REGION_EXTEND, EOVERFLOW,
		       "no file");
	/* more than the address space has */
	assert_refused(file, 0, (uint64_t)1 << 60, VDM_REGION_EXTEND, ENOMEM, "cannot open");
}

static void what_is_written_is_in_the_file_and_can_be_read(void **state)
{
	char from[FILE_SIZE], to[FILE_SIZE], found[FILE_SIZE];

	(void)state;
	for (size_t i = 0; i < FILE_SIZE; i++)
		from[i] = (char)(i * 7 + i / 256);
	assert_int_equal(copy(in_file, from, FILE_SIZE, 0), 0);
	assert_int_equal(pread(file, found, FILE_SIZE, 0), FILE_SIZE);
	assert_memory_equal(found, from, FILE_SIZE);
	assert_int_equal(copy(to, in_file, FILE_SIZE, 0), 0);
	assert_memory_equal(to, from, FILE_SIZE);
	assert_int_equal(set(in_file + 5, 0x1ff, 3 * PAGE, 0), 0);
	assert_int_equal(pread(file, found, FILE_SIZE, 0), FILE_SIZE);
	assert_int_equal(found[4], from[4]);
	assert_filled(found + 5, 0xff, 3 * PAGE);
	assert_int_equal(found[5 + 3 * PAGE], from[5 + 3 * PAGE]);

	struct vdm_client_counters counters = counters_of(client);

	assert_int_equal(counters.file_operations, 3);
	assert_int_equal(counters.file_bytes, 2 * FILE_SIZE + 3 * PAGE);
	assert_int_equal(counters.offloaded + counters.local_small + counters.local_outside +
				 counters.local_disconnected + counters.failed,
			 0);
}

static size_t near_a_page(unsigned *seed)
{
	return (size_t)(rand_r(seed) % 8) * PAGE + (size_t)(rand_r(seed) % 5);
}

/* The file and memory are one piece of plain memory each in the model. */
static void every_alignment_does_what_memory_does(void **state)
{
	static char memory[FILE_SIZE], model_file[FILE_SIZE], model_memory[FILE_SIZE],
		found[FILE_SIZE];
	unsigned seed = 1;

	(void)state;
	for (size_t i = 0; i < FILE_SIZE; i++)
		memory[i] = model_memory[i] = (char)rand_r(&seed);
	memset(model_file, 0, FILE_SIZE);
	for (unsigned n = 0; n < scaled(2000); n++) {
		const size_t to = near_a_page(&seed), from = near_a_page(&seed);
		const size_t length = near_a_page(&seed);
		const int c = rand_r(&seed) % 256;

		switch (rand_r(&seed) % 4) {
		case 0:
			assert_int_equal(copy(in_file + to, memory + from, length, 0), 0);
			memcpy(model_file + to, model_memory + from, length);
			break;
		case 1:
			assert_int_equal(copy(memory + to, in_file + from, length, 0), 0);
			memcpy(model_memory + to, model_file + from, length);
			break;
		case 2:
			assert_int_equal(copy(in_file + to, in_file + from, length, 0), 0);
			memmove(model_file + to, model_file + from, length);
			break;
		case 3:
			assert_int_equal(set(in_file + to, c, length, 0), 0);
			memset(model_file + to, c, length);
			break;
		}
		if (n % 16 != 0)
			continue;
		assert_int_equal(pread(file, found, FILE_SIZE, 0), FILE_SIZE);
		assert_memory_equal(found, model_file, FILE_SIZE);
		assert_memory_equal(memory, model_memory, FILE_SIZE);
	}
}

static void a_region_may_begin_within_the_file_and_two_may_be_of_one(void **state)
{
	struct vdm_region *later;
	char found[8];
	int result = vdm_region_open_file(client, file, 2 * PAGE, PAGE + 1, 0, &later);

	(void)state;
	assert_int_equal(result, 0);
	assert_int_equal(vdm_region_size(later), PAGE + 1);
	assert_int_equal(copy(vdm_region_address(later), "abcdefg", 8, 0), 0);
	assert_int_equal(pread(file, found, 8, 2 * (off_t)PAGE), 8);
	assert_string_equal(found, "abcdefg");
	/* from one to the other */
	assert_int_equal(copy(in_file + 1, vdm_region_address(later), 8, 0), 0);
	assert_int_equal(pread(file, found, 8, 1), 8);
	assert_string_equal(found, "abcdefg");
	assert_int_equal(vdm_region_release(later), 0);
}

static void what_lies_partly_in_a_file_is_refused(void **state)
{
	char memory[64] = "";

	(void)state;
	assert_int_equal(copy(in_file - 1, memory, 64, 0), -EFAULT);
	assert_int_equal(copy(in_file + FILE_SIZE - 63, memory, 64, 0), -EFAULT);
	assert_int_equal(copy(memory, in_file + FILE_SIZE - 1, 2, 0), -EFAULT);
	assert_int_equal(copy(in_file - PAGE, memory, FILE_SIZE + 2 * PAGE, 0), -EFAULT);
	assert_int_equal(set(in_file + FILE_SIZE - 1, 0, 2, 0), -EFAULT);
	/* behind it, but in the last of the pages that are reserved */
	assert_int_equal(copy(in_file + FILE_SIZE, memory, 1, 0), -EFAULT);
	assert_int_equal(copy(memory, in_file + FILE_SIZE + 1, 64, 0), -EFAULT);
	assert_int_equal(copy(in_file + FILE_SIZE - 64, memory, 64, 0), 0);
	/* of no length */
	assert_int_equal(copy(in_file, memory, 0, 0), 0);
	assert_int_equal(copy(memory, in_file + FILE_SIZE, 0, 0), 0);
	assert_int_equal(counters_of(client).failed, 7);
}

static void a_region_that_may_only_be_read_is_not_written(void **state)
{
	struct vdm_region *constant;
	char *address = file_region_opened(client, file, PAGE, VDM_REGION_READONLY, &constant);
	char memory[64] = "";

	(void)state;
	assert_int_equal(copy(in_file, "seen", 5, 0), 0);
	assert_int_equal(copy(memory, address, 5, 0), 0);
	assert_string_equal(memory, "seen");
	assert_int_equal(copy(address, memory, 5, 0), -EACCES);
	assert_int_equal(set(address, 0, 1, 0), -EACCES);
	vdm_region_release(constant);
}

static void only_extending_regions_may_end_behind_the_file(void **state)
{
	struct vdm_region *longer;
	struct stat status;
	char *address, found[4];

	(void)state;
	assert_int_equal(vdm_region_open_file(client, file, 0, FILE_SIZE + 1, 0, &longer), -EFBIG);
	address = file_region_opened(client, file, 1 << 30, VDM_REGION_EXTEND, &longer);
	assert_int_equal(copy(address + FILE_SIZE + 10 * PAGE, "end", 4, 0), 0);
	assert_int_equal(fstat(file, &status), 0);
	assert_int_equal(status.st_size, FILE_SIZE + 10 * PAGE + 4);
	assert_int_equal(pread(file, found, 4, (off_t)(FILE_SIZE + 10 * PAGE)), 4);
	assert_string_equal(found, "end");
	vdm_region_release(longer);
}

static void a_mapped_region_is_memory_and_file(void **state)
{
	struct vdm_region *mapped;
	char *address = file_region_opened(client, file, FILE_SIZE, VDM_REGION_MAP, &mapped);
	char memory[64];

	(void)state;
	strcpy(address + PAGE, "stored");
	assert_int_equal(copy(memory, address + PAGE, 7, 0), 0);
	assert_string_equal(memory, "stored");
	assert_int_equal(copy(address, "copied", 7, VDM_SQE_DURABLE), 0);
	assert_string_equal(address, "copied");
	assert_int_equal(counters_of(client).file_operations, 2);
	vdm_region_release(mapped);
}

static void durable_is_for_files_only(void **state)
{
	char memory[64] = "";

	(void)state;
	assert_int_equal(copy(in_file, memory, 64, VDM_SQE_DURABLE), 0);
	assert_int_equal(set(in_file + 1, 1, PAGE, VDM_SQE_DURABLE), 0);
	assert_int_equal(copy(in_file + 3 * PAGE, in_file, PAGE, VDM_SQE_DURABLE), 0);
	assert_int_equal(copy(memory, in_file, 64, VDM_SQE_DURABLE), -EOPNOTSUPP);
	assert_int_equal(set(memory, 1, 64, VDM_SQE_DURABLE), -EOPNOTSUPP);
	assert_int_equal(flush(memory, 64, VDM_SQE_DURABLE), -EOPNOTSUPP);
	assert_int_equal(flush(in_file, FILE_SIZE, 0), 0);
	assert_int_equal(flush(in_file, FILE_SIZE, VDM_SQE_DURABLE), 0);
	assert_int_equal(flush(in_file, FILE_SIZE + 1, 0), -EFAULT);
	assert_int_equal(counters_of(client).file_operations, 5);
}

static void a_chain_goes_through_memory_and_files(void **state)
{
	static char first[PAGE], second[PAGE], third[PAGE];
	int32_t results[4];

	(void)state;
	for (unsigned round = 1; round <= scaled(100); round++) {
		add_set(0, first, (int)round, PAGE, VDM_SQE_LINK);
		add_copy(1, in_file + round, first, PAGE, VDM_SQE_LINK);
		add_copy(2, second, in_file + round, PAGE, VDM_SQE_LINK);
		add_copy(3, third, second, PAGE, 0);
		run_all(ring, 4, results, NULL);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(results[i], 0);
		assert_filled(third, (int)(round % 256), PAGE);
	}
}

static void a_chain_ends_where_it_fails(void **state)
{
	static const struct {
		unsigned opcode;
		size_t beyond;
		unsigned flags;
		int result;
	} bad[] = {
		{200, 0, 0, -EINVAL},
		{VDM_OP_MEMCPY, FILE_SIZE - 1, 0, -EFAULT},
		{VDM_OP_MEMCPY, 0, 1 << 14, -EINVAL},
	};
	char memory[8] = "abcdefg", found[8];
	int32_t results[4];

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(set(in_file, 0, PAGE, 0), 0);
		add_copy(0, in_file, memory, 8, VDM_SQE_LINK);

		struct vdm_sqe *sqe = entry(ring);

		vdm_prep_memcpy(sqe, in_file + bad[i].beyond, memory, 8,
				bad[i].flags | VDM_SQE_LINK);
		sqe->opcode = (uint8_t)bad[i].opcode;
		sqe->user_data = 1;
		add_copy(2, in_file + 100, memory, 8, VDM_SQE_LINK);
		add_copy(3, in_file + 200, memory, 8, 0);
		run_all(ring, 4, results, NULL);
		assert_int_equal(results[0], 0);
		assert_int_equal(results[1], bad[i].result);
		assert_int_equal(results[2], -ECANCELED);
		assert_int_equal(results[3], -ECANCELED);
		assert_int_equal(pread(file, found, 8, 0), 8);
		assert_string_equal(found, memory);
		assert_int_equal(pread(file, found, 8, 100), 8);
		assert_int_equal(found[0], 0);
	}
	/* a bad entry that is cancelled is cancelled */
	add_copy(0, in_file + FILE_SIZE - 1, memory, 8, VDM_SQE_LINK);
	add_copy(1, in_file, memory, 8, VDM_SQE_LINK | 1 << 14);
	add_copy(2, in_file, memory, 8, 0);
	run_all(ring, 3, results, NULL);
	assert_int_equal(results[0], -EFAULT);
	assert_int_equal(results[1], -ECANCELED);
	assert_int_equal(results[2], -ECANCELED);
}

/* Where a store would raise SIGSEGV. */
static void a_chain_does_not_write_constant_memory(void **state)
{
	int fd = memfd_create("constant", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct vdm_region *constant;
	int32_t results[2];

	(void)state;
	assert_int_equal(ftruncate(fd, (off_t)PAGE), 0);
	assert_int_equal(vdm_region_import(client, fd, NULL, PAGE, VDM_REGION_READONLY, &constant),
			 0);
	add_copy(0, in_file, vdm_region_address(constant), PAGE, VDM_SQE_LINK);
	add_copy(1, vdm_region_address(constant), in_file, PAGE, 0);
	run_all(ring, 2, results, NULL);
	assert_int_equal(results[0], 0);
	assert_int_equal(results[1], -EACCES);
	vdm_region_release(constant);
	close(fd);
}

/* Each round would carry on what the round before has left if an operation began too early. */
/* Small operations are otherwise carried out during the submit. */
/* One operation in each lane, and a wait for both. */
/* Before the first operation on a file, and after it. */
static void a_truncated_file_gives_an_error_and_the_bytes(void **state)
{
	static char memory[FILE_SIZE];
	struct vdm_cqe *cqe;

	(void)state;
	memset(memory, 'm', FILE_SIZE);
	assert_int_equal(ftruncate(file, 3 * PAGE + 7), 0);
	add_copy(0, memory, in_file, FILE_SIZE, 0);
	assert_int_equal(vdm_ring_submit(ring), 1);
	assert_int_equal(vdm_ring_wait_cqe(ring, &cqe), 0);
	assert_int_equal(cqe->result, -ENODATA);
	assert_int_equal(cqe->value, 3 * PAGE + 7);
	vdm_ring_cqe_seen(ring, cqe);
	assert_filled(memory, 0, 3 * PAGE + 7);
	assert_filled(memory + 3 * PAGE + 7, 'm', FILE_SIZE - 3 * PAGE - 7);
}

/* No descriptors are left for the lane, and then some are. */
static void an_operation_tells_that_its_lane_cannot_be_opened(void **state)
{
	struct rlimit limit, none;
	char memory[8] = "";
	int32_t results[2];

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	add_copy(0, in_file, "copied", 7, VDM_SQE_LINK);
	add_copy(1, memory, in_file, 7, 0);
	run_all(ring, 2, results, NULL);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(results[0], -EMFILE);
	assert_int_equal(results[1], -ECANCELED);
	assert_int_equal(copy(in_file, "copied", 7, 0), 0);
	assert_int_equal(copy(memory, in_file, 7, 0), 0);
	assert_string_equal(memory, "copied");
}

#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, file_set_up, file_tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_FILE(what_is_not_a_file_with_bytes_is_refused),
		WITH_FILE(what_the_descriptor_does_not_allow_is_refused),
		WITH_FILE(ranges_that_no_region_can_have_are_refused),
		WITH_FILE(what_is_written_is_in_the_file_and_can_be_read),
		WITH_FILE(every_alignment_does_what_memory_does),
		WITH_FILE(a_region_may_begin_within_the_file_and_two_may_be_of_one),
		WITH_FILE(what_lies_partly_in_a_file_is_refused),
		WITH_FILE(a_region_that_may_only_be_read_is_not_written),
		WITH_FILE(only_extending_regions_may_end_behind_the_file),
		WITH_FILE(a_mapped_region_is_memory_and_file),
		WITH_FILE(durable_is_for_files_only),
		WITH_FILE(a_chain_goes_through_memory_and_files),
		WITH_FILE(a_chain_ends_where_it_fails),
		WITH_FILE(a_chain_does_not_write_constant_memory),
		WITH_FILE(a_truncated_file_gives_an_error_and_the_bytes),
		WITH_FILE(an_operation_tells_that_its_lane_cannot_be_opened),
	};

	file_use_arguments(argc, argv);
	guard_against_hanging(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
