/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon/prefault.c: pages are mapped before they are touched, and unmapped once, by the thread or
 * by the caller.
 */
#include "daemon/prefault.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES ((size_t)16 << 20)

static struct prefault *prefault;

static int set_up(void **state)
{
	(void)state;
	return prefault_new(&prefault);
}

static int tear_down(void **state)
{
	(void)state;
	prefault_free(prefault);
	return 0;
}

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

static void end_and_unmap(struct prefault_job *job, void *base)
{
	if (prefault_end(prefault, job))
		munmap(base, BYTES);
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

/* Waits for minutes. */
static bool comes_to(const void *base, long kib)
{
	for (int i = 0; i < 60000; i++) {
		if (mapped_kib(base) == kib)
			return true;
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	return false;
}

static void pages_are_mapped_without_being_touched(void **state)
{
	for (int writable = 0; writable < 2; writable++) {
		int fd = memory_file(BYTES);
		void *base = mapping(fd, BYTES);

		(void)state;
		assert_int_equal(mapped_kib(base), 0);
		struct prefault_job *job = prefault_begin(prefault, base, BYTES, writable, fd);

		assert_non_null(job);
		close(fd);
		assert_true(comes_to(base, BYTES >> 10));
		end_and_unmap(job, base);
		assert_true(comes_to(base, -1));
	}
}

/* They would be charged to the process that maps them. */
static void pages_that_are_not_there_are_left_alone(void **state)
{
	int fd = memory_file(BYTES), other = memory_file(BYTES);
	void *base = mapping(fd, BYTES), *second = mapping(other, BYTES);

	(void)state;
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
	struct prefault_job *job = prefault_begin(prefault, base, BYTES, true, fd);
	struct prefault_job *later = prefault_begin(prefault, second, BYTES, true, other);

	/* and when it has, the thread has been at the first one, too */
	assert_true(comes_to(second, BYTES >> 10));
	assert_int_equal(mapped_kib(base), 0);
	end_and_unmap(job, base);
	end_and_unmap(later, second);
	close(fd);
	close(other);
}

/* At any moment. Under sanitizers, this also tests that memory is not unmapped twice. */
static void what_is_given_up_is_unmapped(void **state)
{
	enum { REGIONS = 100 };
	int fd = memory_file(BYTES);

	(void)state;
	for (unsigned i = 0; i < REGIONS; i++) {
		void *base = mapping(fd, BYTES);
		struct prefault_job *job = prefault_begin(prefault, base, BYTES, true, fd);

		nanosleep(&(struct timespec){.tv_nsec = i * 100000}, NULL);
		end_and_unmap(job, base);
		assert_true(comes_to(base, -1));
	}
	close(fd);
}

static void without_a_job_it_is_just_unmapped(void **state)
{
	int fd = memory_file(BYTES);
	void *base = mapping(fd, BYTES);

	(void)state;
	end_and_unmap(NULL, base);
	assert_int_equal(mapped_kib(base), -1);
	close(fd);
}

static void there_is_an_end_to_how_many_wait(void **state)
{
	/* mapping these takes longer than asking for it, whichever thread has the CPU */
	enum { MANY = 20000 };
	static struct prefault_job *job[MANY];
	static void *base[MANY];
	int fd = memory_file(BYTES);
	unsigned count = 0;

	(void)state;
	do {
		assert_true(count < MANY);
		base[count] = mapping(fd, BYTES);
		job[count] = prefault_begin(prefault, base[count], BYTES, true, fd);
	} while (job[count++]);
	assert_true(count > 1);
	while (count > 0) {
		count--;
		end_and_unmap(job[count], base[count]);
	}
	close(fd);
}

static atomic_bool holding, held;

/* Instead of the C library's: it takes long, as a client can make it. */
int madvise(void *address, size_t length, int advice)
{
	while (atomic_load(&holding)) {
		atomic_store(&held, true);
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return (int)syscall(SYS_madvise, address, length, advice);
}

/* Instead of the C library's: the wall clock is put back by an hour, after it has been read. */
int clock_gettime(clockid_t clock, struct timespec *time)
{
	int result = (int)syscall(SYS_clock_gettime, clock, time);

	if (clock == CLOCK_REALTIME)
		time->tv_sec += 3600;
	return result;
}

/* A thread that is stuck is waited for in vain, and not for longer when the wall clock changes. */
static void the_end_does_not_wait_for_the_wall_clock(void **state)
{
	static struct prefault *stuck; /* it stays until the process ends */
	struct timespec begin, end;
	int fd = memory_file(BYTES);
	void *base = mapping(fd, BYTES);

	(void)state;
	assert_int_equal(prefault_new(&stuck), 0);
	atomic_store(&holding, true);
	assert_non_null(prefault_begin(stuck, base, BYTES, true, fd));
	while (!atomic_load(&held))
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	alarm(30);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	prefault_free(stuck);
	clock_gettime(CLOCK_MONOTONIC, &end);
	alarm(0);
	assert_in_range(end.tv_sec - begin.tv_sec, 0, 20);
	atomic_store(&holding, false);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_are_mapped_without_being_touched),
		cmocka_unit_test(pages_that_are_not_there_are_left_alone),
		cmocka_unit_test(what_is_given_up_is_unmapped),
		cmocka_unit_test(without_a_job_it_is_just_unmapped),
		cmocka_unit_test(there_is_an_end_to_how_many_wait),
		cmocka_unit_test(the_end_does_not_wait_for_the_wall_clock),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
