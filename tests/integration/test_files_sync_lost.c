/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a client must not lose with its filer: that a sync has failed, and what a copy that was not
 * complete would have read. The file system is of the test.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "cmocka_test.h"
#include "daemon_process.h"
#include "filer_process.h"
#include "fuse_file.h"
#include "ring_use.h"
#include "scale.h"

#define BYTES (512 * (size_t)1024)

static struct fuse_file fuse;
static struct daemon_process daemon_process;
static struct vdm_client *client;
static struct vdm_ring *ring;
static struct vdm_region *region, *second, *memory_region;
static char *in_file, *memory;
static int fd;

static char *opened(uint64_t offset, struct vdm_region **out)
{
	CHECK(vdm_region_open_file(client, fd, offset, FUSE_BYTES / 2, 0, out) == 0, "a region");
	return vdm_region_address(*out);
}

static int set_up(void **state)
{
	(void)state;
	fd = fuse_file_open(&fuse);
	client = client_opened();
	ring = ring_opened(client, 16, 0);
	memory = region_opened(client, BYTES, &memory_region);
	in_file = opened(0, &region);
	second = NULL;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (unsigned i = 0; i < FUSE_FILE_REQUESTS; i++)
		fuse_file_answer(&fuse, (enum fuse_request)i, FUSE_ANSWER);
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_region_release(second);
	vdm_region_release(memory_region);
	vdm_client_close(client);
	close(fd);
	return 0;
}

static int write_file(unsigned flags)
{
	vdm_prep_memcpy(entry(ring), in_file, memory, FUSE_BLOCK, flags);
	return run_one(ring);
}

static int flush_file(void)
{
	vdm_prep_flush(entry(ring), in_file, FUSE_BLOCK, 0);
	return run_one(ring);
}

static uint64_t by_filer(void)
{
	return counters_of(client).file_offloaded;
}

/* Kill the filer, and write until there is another one. */
static void replace_filer(void)
{
	pid_t filer = filer_awaited(daemon_process.pid, 0);
	const uint64_t before = by_filer();

	assert_true(before > 0);
	kill(filer, SIGKILL);
	while (by_filer() == before || grandchild_named(daemon_process.pid, "vdmd-filer") == filer)
		assert_int_equal(write_file(0), 0);
}

static void a_failed_flush_outlives_the_filer(void **state)
{
	(void)state;
	assert_int_equal(write_file(0), 0);
	fuse_file_answer(&fuse, FUSE_FILE_SYNC, EIO);
	assert_int_equal(flush_file(), -EIO);
	fuse_file_answer(&fuse, FUSE_FILE_SYNC, FUSE_ANSWER);
	assert_int_equal(flush_file(), -EIO);
	replace_filer();
	assert_int_equal(flush_file(), -EIO);
	assert_int_equal(write_file(VDM_SQE_DURABLE), -EIO);
}

static void a_failed_durable_write_outlives_the_filer(void **state)
{
	(void)state;
	fuse_file_answer(&fuse, FUSE_FILE_SYNC, EIO);
	assert_int_equal(write_file(VDM_SQE_DURABLE), -EIO);
	fuse_file_answer(&fuse, FUSE_FILE_SYNC, FUSE_ANSWER);
	replace_filer();
	assert_int_equal(flush_file(), -EIO);
	assert_int_equal(write_file(VDM_SQE_DURABLE), -EIO);
}

/* What was not written was not lost. */
static void a_failed_write_says_nothing_about_later_ones(void **state)
{
	(void)state;
	fuse_file_answer(&fuse, FUSE_FILE_WRITE, ENOSPC);
	assert_int_equal(write_file(VDM_SQE_DURABLE), -ENOSPC);
	fuse_file_answer(&fuse, FUSE_FILE_WRITE, FUSE_ANSWER);
	assert_int_equal(write_file(VDM_SQE_DURABLE), 0);
	replace_filer();
	assert_int_equal(write_file(VDM_SQE_DURABLE), 0);
	assert_int_equal(flush_file(), 0);
}

/* Through two regions of a file, a page further. Done twice, it would read what it has written. */
static void a_move_within_a_file_is_not_repeated(void **state)
{
	char *to = opened(FUSE_BLOCK, &second);
	pid_t filer;

	(void)state;
	for (size_t i = 0; i < BYTES; i++)
		memory[i] = (char)(i / FUSE_BLOCK + 1);
	vdm_prep_memcpy(entry(ring), in_file, memory, BYTES, 0);
	assert_int_equal(run_one(ring), 0);
	filer = filer_awaited(daemon_process.pid, 0);
	fuse_file_answer(&fuse, FUSE_FILE_WRITE, FUSE_HOLD);
	vdm_prep_memmove(entry(ring), to, in_file, BYTES, 0);
	assert_int_equal(vdm_ring_submit(ring), 1);
	fuse_file_await_held(&fuse);
	kill(filer, SIGKILL);
	fuse_file_answer(&fuse, FUSE_FILE_WRITE, FUSE_ANSWER);

	struct vdm_cqe *cqe;

	assert_int_equal(vdm_ring_wait_cqe(ring, &cqe), 0);
	assert_int_equal(cqe->result, 0);
	vdm_ring_cqe_seen(ring, cqe);
	assert_memory_equal(fuse.record->bytes + FUSE_BLOCK, memory, BYTES);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_failed_flush_outlives_the_filer),
		TEST(a_failed_durable_write_outlives_the_filer),
		TEST(a_failed_write_says_nothing_about_later_ones),
		TEST(a_move_within_a_file_is_not_repeated),
	};
	int result = fuse_file_start(&fuse);

	guard_against_hanging(60);
	if (result) {
		printf("skipped: cannot mount a file system by FUSE: %s\n", strerror(-result));
		return 77;
	}
	daemon_prepare(&daemon_process);
	daemon_start(&daemon_process, 1);
	result = cmocka_run_group_tests(tests, NULL, NULL);
	if (daemon_stop(&daemon_process) != 0)
		result = 1;
	daemon_remove(&daemon_process);
	fuse_file_stop(&fuse);
	return result;
}
