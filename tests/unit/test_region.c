/* SPDX-License-Identifier: BSD-3-Clause */
/* daemon/region.c: which files may become regions, and which rule the others break. */
#include "daemon/region.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES 65536u

static struct populate_list populating = TAILQ_HEAD_INITIALIZER(populating);
static int process; /* this one plays the porter, too */

static int set_up(void **state)
{
	(void)state;
	process = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return process < 0;
}

static int tear_down(void **state)
{
	(void)state;
	return close(process);
}

static int memory_file(unsigned flags, int allocate)
{
	int fd = memfd_create("test", MFD_CLOEXEC | flags);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, BYTES), 0);
	if (allocate)
		assert_int_equal(fallocate(fd, 0, 0, BYTES), 0);
	if (flags & MFD_ALLOW_SEALING)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	return fd;
}

/* Open and check a file as for a region. Returns a descriptor or a negative errno. */
static int admit(int fd, uint64_t size, uint32_t flags, struct region *region,
		 char text[VDM_REFUSAL_TEXT])
{
	struct passed passed = {process, fd};
	int opened = region_open(&passed, size, flags, text);
	int result = opened < 0 ? opened : region_check(opened, size, flags, region, text);

	if (result >= 0)
		return opened;
	if (opened >= 0)
		close(opened);
	return result;
}

/* Check a file, close it, and see that it is refused with a sentence that has `word` in it. */
static void refused(int fd, uint64_t size, uint32_t flags, int error, const char *word)
{
	char text[VDM_REFUSAL_TEXT] = "";
	struct region region;
	int result = admit(fd, size, flags, &region, text);

	if (result != error || !strstr(text, word))
		print_message("%d, %s; expected %d, %s\n", result, text, error, word);
	assert_int_equal(result, error);
	assert_non_null(strstr(text, word));
	close(fd);
}

static void an_honest_memfd_is_admitted(void **state)
{
	int fd = memory_file(MFD_ALLOW_SEALING, 1);
	char text[VDM_REFUSAL_TEXT];
	struct region region;
	int opened = admit(fd, BYTES, 0, &region, text);

	(void)state;
	assert_true(opened >= 0);
	assert_int_equal(region_map(&region, &populating, -1, opened, BYTES, 0, text), 0);
	memset(region.base, 1, BYTES);
	region_unmap(&region, &populating);
	assert_int_equal(fcntl(opened, F_GETFD), -1);
	close(fd);
}

/* The file is opened anew: what its client does to its own open file is not done to ours. */
static void the_open_file_is_our_own(void **state)
{
	int fd = memory_file(MFD_ALLOW_SEALING, 1);
	char text[VDM_REFUSAL_TEXT];
	struct region region;
	int opened = admit(fd, BYTES, 0, &region, text);

	(void)state;
	assert_int_equal(lseek(fd, 100, SEEK_SET), 100);
	assert_int_equal(lseek(opened, 0, SEEK_CUR), 0);
	close(opened);
	close(fd);
}

static void sizes_are_whole_pages_within_the_file(void **state)
{
	(void)state;
	refused(memory_file(MFD_ALLOW_SEALING, 1), 0, 0, -EINVAL, "whole pages");
	refused(memory_file(MFD_ALLOW_SEALING, 1), 4095, 0, -EINVAL, "whole pages");
	refused(memory_file(MFD_ALLOW_SEALING, 1), UINT64_MAX, 0, -EINVAL, "whole pages");
	refused(memory_file(MFD_ALLOW_SEALING, 1), BYTES + 4096, 0, -EFBIG, "65536");
	refused(memory_file(MFD_ALLOW_SEALING, 1), (uint64_t)-4096, 0, -EFBIG, "65536");
}

static void what_is_no_memfd_is_refused(void **state)
{
	char path[] = "/var/tmp/vdmd-test-region.XXXXXX";
	int ends[2];

	(void)state;
	int file = mkstemp(path);

	unlink(path);
	assert_int_equal(ftruncate(file, BYTES), 0);
	refused(file, BYTES, 0, -EMEDIUMTYPE, "memfd_create");
	snprintf(path, sizeof path, "/vdmd-test-region.%d", (int)getpid());
	file = shm_open(path, O_CREAT | O_EXCL | O_RDWR, 0600);
	if (file >= 0)
		shm_unlink(path);
	if (file >= 0) { /* on a tmpfs, but not on that of the memfds */
		assert_int_equal(ftruncate(file, BYTES), 0);
		refused(file, BYTES, 0, -EMEDIUMTYPE, "memfd_create");
	}
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	refused(ends[0], BYTES, 0, -EMEDIUMTYPE, "memfd_create");
	close(ends[1]);
	refused(eventfd(0, EFD_CLOEXEC), BYTES, 0, -EMEDIUMTYPE, "memfd_create");
	refused(open("/dev/zero", O_RDWR | O_CLOEXEC), BYTES, 0, -EMEDIUMTYPE, "memfd_create");
}

static void what_could_shrink_is_refused(void **state)
{
	int unsealed = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	(void)state;
	refused(memory_file(0, 1), BYTES, 0, -EPERM, "MFD_ALLOW_SEALING");
	assert_int_equal(fallocate(unsealed, 0, 0, BYTES), 0);
	refused(unsealed, BYTES, 0, -EPERM, "F_SEAL_SHRINK");
}

static void pages_have_to_be_the_clients(void **state)
{
	(void)state;
	int hollow = memory_file(MFD_ALLOW_SEALING, 0);

	refused(dup(hollow), BYTES, 0, -ENODATA, "fallocate");
	/* all of the file: blocks behind the region are none of the region's */
	assert_int_equal(ftruncate(hollow, 2 * BYTES), 0);
	assert_int_equal(fallocate(hollow, 0, BYTES, BYTES), 0);
	refused(hollow, BYTES, 0, -ENODATA, "fallocate");
}

static void read_only_files_make_read_only_regions(void **state)
{
	int fd = memory_file(MFD_ALLOW_SEALING, 1);
	char link[64], text[VDM_REFUSAL_TEXT];
	struct region region;

	(void)state;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	refused(open(link, O_RDONLY | O_CLOEXEC), BYTES, 0, -EACCES, "read-only region");
	refused(open(link, O_WRONLY | O_CLOEXEC), BYTES, 0, -EACCES, "for reading");

	int read_only = open(link, O_RDONLY | O_CLOEXEC);
	int opened = admit(read_only, BYTES, VDM_REGION_READ_ONLY, &region, text);

	assert_true(opened >= 0);
	assert_int_equal(fcntl(opened, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(region_map(&region, &populating, -1, opened, BYTES, VDM_REGION_READ_ONLY,
				    text),
			 0);
	assert_int_equal(((char *)region.base)[BYTES - 1], 0);
	region_unmap(&region, &populating);
	close(read_only);

	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	refused(fd, BYTES, 0, -EACCES, "sealed against writing");
}

static void huge_pages_are_refused(void **state)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);

	(void)state;
	if (fd < 0) {
		print_message("this kernel has no huge pages for memory files\n");
		skip();
	}
	refused(fd, 2 << 20, 0, -EOPNOTSUPP, "huge pages");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_honest_memfd_is_admitted),
		cmocka_unit_test(the_open_file_is_our_own),
		cmocka_unit_test(sizes_are_whole_pages_within_the_file),
		cmocka_unit_test(what_is_no_memfd_is_refused),
		cmocka_unit_test(what_could_shrink_is_refused),
		cmocka_unit_test(pages_have_to_be_the_clients),
		cmocka_unit_test(read_only_files_make_read_only_regions),
		cmocka_unit_test(huge_pages_are_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
