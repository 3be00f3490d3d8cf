/* SPDX-License-Identifier: BSD-3-Clause */
/* daemon/populate.c: pages are mapped before they are touched, and unmapped as a whole. */
#include "daemon/populate.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES ((size_t)16 << 20)

static struct populate_list list = TAILQ_HEAD_INITIALIZER(list);

static int memory_file(size_t bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	assert_int_equal(fallocate(fd, 0, 0, (off_t)bytes), 0);
	return fd;
}

static void *mapping(int fd, size_t bytes)
{
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(base, MAP_FAILED);
	return base;
}

/*
 * KiB of the mapping at `base` that have pages, of /proc/self/smaps; -1: there is no such mapping.
 */
static long mapped_kib(const void *base)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	unsigned long begin, end;
	char line[512];
	bool here = false;
	long kib = -1;

	assert_non_null(file);
	while (fgets(line, sizeof line, file)) {
		if (sscanf(line, "%lx-%lx ", &begin, &end) == 2 &&
		    strchr(line, '-') < strchr(line, ' '))
			here = begin <= (uintptr_t)base && (uintptr_t)base < end;
		else if (here && sscanf(line, "Rss: %ld kB", &kib) == 1)
			break;
	}
	fclose(file);
	return kib;
}

static void populate_all(void)
{
	while (!TAILQ_EMPTY(&list))
		populate_step(&list);
	populate_step(&list); /* and one that finds nothing to do */
}

static void pages_are_mapped_without_being_touched(void **state)
{
	(void)state;
	for (int writable = 0; writable < 2; writable++) {
		int fd = memory_file(BYTES);
		void *base = mapping(fd, BYTES);
		struct populating pages;

		assert_int_equal(mapped_kib(base), 0);
		populate_begin(&list, &pages, base, BYTES, writable, fd);
		populate_all();
		assert_int_equal(mapped_kib(base), BYTES >> 10);
		assert_int_equal(fcntl(fd, F_GETFD), -1);
		unmap_in_pieces(base, BYTES);
		assert_int_equal(mapped_kib(base), -1);
	}
}

/* They would be charged to the process that maps them. */
static void pages_that_are_not_there_are_left_alone(void **state)
{
	int fd = memory_file(BYTES);
	void *base = mapping(fd, BYTES);
	struct populating pages;

	(void)state;
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
	populate_begin(&list, &pages, base, BYTES, true, fd);
	populate_all();
	assert_int_equal(mapped_kib(base), 0);
	unmap_in_pieces(base, BYTES);
}

/* Each gets a piece in turn. */
static void none_waits_for_all_of_another(void **state)
{
	int fds[2] = {memory_file(BYTES), memory_file(BYTES)};
	struct populating pages[2];
	void *base[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		base[i] = mapping(fds[i], BYTES);
		populate_begin(&list, &pages[i], base[i], BYTES, true, fds[i]);
	}
	populate_step(&list);
	populate_step(&list);
	assert_true(mapped_kib(base[0]) > 0 && mapped_kib(base[0]) < (long)BYTES >> 10);
	assert_int_equal(mapped_kib(base[1]), mapped_kib(base[0]));
	for (unsigned i = 0; i < 2; i++) {
		populate_end(&list, &pages[i]);
		populate_end(&list, &pages[i]); /* a second time, nothing happens */
		assert_int_equal(fcntl(fds[i], F_GETFD), -1);
		unmap_in_pieces(base[i], BYTES);
	}
	assert_true(TAILQ_EMPTY(&list));
}

static void odd_sizes_are_unmapped_as_a_whole(void **state)
{
	const size_t size = BYTES + 4096;
	int fd = memory_file(size);
	char *base = mapping(fd, size);

	(void)state;
	unmap_in_pieces(base, size);
	assert_int_equal(mapped_kib(base), -1);
	assert_int_equal(mapped_kib(base + BYTES), -1);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_are_mapped_without_being_touched),
		cmocka_unit_test(pages_that_are_not_there_are_left_alone),
		cmocka_unit_test(none_waits_for_all_of_another),
		cmocka_unit_test(odd_sizes_are_unmapped_as_a_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
