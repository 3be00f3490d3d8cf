/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_files_fuse [--threads]: operations on a file whose file system hangs, fails, or tells what
 * it was asked to do and in which order. With --threads, this process may not use io_uring.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "cmocka_test.h"
#include "file_use.h"
#include "fuse_file.h"
#include "ring_use.h"
#include "scale.h"

#define WRITERS        4u
#define BLOCKS_EACH    (FUSE_BLOCKS / WRITERS)
#define WRITER_ENTRIES 16u
#define TAG_HELD       1000u /* of operations that wait for the file system */

/* The threads that wait for files: of the kernel, MOST_WORKERS; of the library, DEFAULT_THREADS. */
#define MOST_WAITING 4u

static struct fuse_file fuse;
static int fuse_fd;
static struct vdm_region *fuse_region;
static char *in_fuse;

static void open_region(void)
{
	in_fuse = file_region_opened(client, fuse_fd, FUSE_BYTES, 0, &fuse_region);
}

static int set_up(void **state)
{
	file_set_up(state);
	fuse_fd = fuse_file_open(&fuse);
	open_region();
	return 0;
}

static int tear_down(void **state)
{
	/* a test that has failed leaves operations that hang */
	for (unsigned i = 0; i < FUSE_FILE_REQUESTS; i++)
		fuse_file_answer(&fuse, (enum fuse_request)i, FUSE_ANSWER);
	vdm_region_release(fuse_region);
	close(fuse_fd);
	return file_tear_down(state);
}

static struct vdm_cqe next_completion(struct vdm_ring *of)
{
	struct vdm_cqe *cqe, copied;

	CHECK(vdm_ring_wait_cqe(of, &cqe) == 0, "waiting");
	copied = *cqe;
	vdm_ring_cqe_seen(of, cqe);
	return copied;
}

static void submit(void)
{
	assert_true(vdm_ring_submit(ring) > 0);
}

/* While others wait: the next to complete is this one. */
static void assert_completes(unsigned tag)
{
	submit();

	const struct vdm_cqe cqe = next_completion(ring);

	assert_int_equal(cqe.user_data, tag);
	assert_int_equal(cqe.result, 0);
}

static void assert_held_complete(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const struct vdm_cqe cqe = next_completion(ring);

		assert_true(cqe.user_data >= TAG_HELD);
		assert_int_equal(cqe.result, 0);
	}
}

/* Each kind of operation on the other file but a flush, which is ordered after those that hang. */
static void use_other_file(void)
{
	char memory[PAGE], found[PAGE];

	for (unsigned round = 0; round < 20; round++) {
		memset(memory, (int)round + 1, PAGE);
		add_copy(0, in_file, memory, PAGE, 0);
		assert_completes(0);
		add_copy(1, in_file + PAGE, in_file, PAGE, 0);
		assert_completes(1);
		add_copy(2, in_file, memory, PAGE, VDM_SQE_DURABLE);
		assert_completes(2);
		add_set(3, in_file + 2 * PAGE, (int)round, PAGE, 0);
		assert_completes(3);
		add_copy(4, found, in_file + PAGE, PAGE, 0);
		assert_completes(4);
		assert_memory_equal(found, memory, PAGE);
	}
}

static void other_files_go_on_while_one_hangs(void **state)
{
	char written[PAGE], read[PAGE], found[PAGE];

	(void)state;
	memset(written, 'w', PAGE);
	fuse_file_answer(&fuse, FUSE_FILE_READ, FUSE_HOLD);
	fuse_file_answer(&fuse, FUSE_FILE_WRITE, FUSE_HOLD);
	add_copy(TAG_HELD, read, in_fuse + PAGE, PAGE, 0);
	add_copy(TAG_HELD + 1, in_fuse, written, PAGE, 0);
	submit();
	fuse_file_await_held(&fuse);
	fuse_file_await_held(&fuse);
	use_other_file();
	fuse_file_answer(&fuse, FUSE_FILE_READ, FUSE_ANSWER);
	fuse_file_answer(&fuse, FUSE_FILE_WRITE, FUSE_ANSWER);
	assert_held_complete(2);
	assert_int_equal(copy(found, in_fuse, PAGE, 0), 0);
	assert_memory_equal(found, written, PAGE);
}

static void other_files_go_on_while_a_sync_hangs(void **state)
{
	char memory[PAGE] = {0};

	(void)state;
	fuse_file_answer(&fuse, FUSE_FILE_SYNC, FUSE_HOLD);
	add_copy(TAG_HELD, in_fuse, memory, PAGE, VDM_SQE_DURABLE);
	submit();
	fuse_file_await_held(&fuse);
	use_other_file();
	fuse_file_answer(&fuse, FUSE_FILE_SYNC, FUSE_ANSWER);
	assert_held_complete(1);
}

/* There are so many threads, and then files wait for each other. Nothing is lost by that. */
static void what_waits_for_a_thread_comes_to_its_end(void **state)
{
	char memory[PAGE] = {0}, read[2 * MOST_WAITING][PAGE];

	(void)state;
	fuse_file_answer(&fuse, FUSE_FILE_READ, FUSE_HOLD);
	for (unsigned i = 0; i < 2 * MOST_WAITING; i++)
		add_copy(TAG_HELD + i, read[i], in_fuse + i * PAGE, PAGE, 0);
	add_copy(TAG_HELD + 2 * MOST_WAITING, in_file, memory, PAGE, VDM_SQE_DURABLE);
	submit();
	for (unsigned i = 0; i < MOST_WAITING; i++)
		fuse_file_await_held(&fuse);
	fuse_file_answer(&fuse, FUSE_FILE_READ, FUSE_ANSWER);
	assert_held_complete(2 * MOST_WAITING + 1);
}

static void an_error_reaches_the_caller(void **state)
{
	static const int errors[] = {EIO, ENOSPC, EDQUOT, ESTALE};
	char memory[PAGE] = {0};

	(void)state;
	for (unsigned i = 0; i < sizeof errors / sizeof *errors; i++) {
		fuse_file_answer(&fuse, FUSE_FILE_WRITE, errors[i]);
		fuse_file_answer(&fuse, FUSE_FILE_READ, errors[i]);
		assert_int_equal(copy(in_fuse, memory, PAGE, VDM_SQE_DURABLE), -errors[i]);
		assert_int_equal(copy(memory, in_fuse, PAGE, 0), -errors[i]);
		fuse_file_answer(&fuse, FUSE_FILE_WRITE, FUSE_ANSWER);
		fuse_file_answer(&fuse, FUSE_FILE_READ, FUSE_ANSWER);
		/* that was told, and nothing that was written before is lost */
		assert_int_equal(copy(in_fuse, memory, PAGE, VDM_SQE_DURABLE), 0);
		assert_int_equal(copy(memory, in_fuse, PAGE, 0), 0);
	}
}

static void after_a_failed_sync_nothing_is_durable(void **state)
{
	enum { COUNT = 32 };
	static char memory[PAGE];
	int32_t results[COUNT];

	(void)state;
	fuse_file_answer(&fuse, FUSE_FILE_SYNC, EIO);
	for (unsigned i = 0; i < COUNT; i++)
		add_copy(i, in_fuse + i * PAGE, memory, PAGE, VDM_SQE_DURABLE);
	run_all(ring, COUNT, results, NULL);
	for (unsigned i = 0; i < COUNT; i++)
		assert_int_equal(results[i], -EIO);
	fuse_file_answer(&fuse, FUSE_FILE_SYNC, FUSE_ANSWER);
	assert_int_equal(flush(in_fuse, PAGE, 0), -EIO);
	assert_int_equal(copy(in_fuse, memory, PAGE, VDM_SQE_DURABLE), -EIO);
	assert_int_equal(copy(in_fuse, memory, PAGE, 0), 0);
	assert_int_equal(copy(in_file, memory, PAGE, VDM_SQE_DURABLE), 0);
	/* until a region of it is opened again */
	vdm_region_release(fuse_region);
	open_region();
	assert_int_equal(copy(in_fuse, memory, PAGE, VDM_SQE_DURABLE), 0);
	assert_int_equal(flush(in_fuse, PAGE, 0), 0);
}

/* Durable writes of one thread, each of blocks that no other write has. */
struct writer {
	unsigned first, count; /* blocks */
	struct write {
		unsigned first, count;
		uint64_t reported; /* when it was reported as durable */
	} writes[BLOCKS_EACH];
	unsigned begun;
};

static bool begin_write(struct vdm_ring *of, struct writer *writer, unsigned *next)
{
	static const char memory[3 * FUSE_BLOCK] = {1};
	const unsigned count = 1 + writer->begun % 3;
	struct vdm_sqe *sqe;

	if (*next + count > writer->first + writer->count)
		return false;
	sqe = entry(of);
	vdm_prep_memcpy(sqe, in_fuse + *next * FUSE_BLOCK, memory, count * FUSE_BLOCK,
			VDM_SQE_DURABLE);
	sqe->user_data = writer->begun;
	writer->writes[writer->begun++] = (struct write){*next, count, 0};
	*next += count;
	CHECK(vdm_ring_submit(of) == 1, "submitting");
	return true;
}

static void *write_durably(void *argument)
{
	struct writer *writer = argument;
	struct vdm_ring *own = ring_opened(client, WRITER_ENTRIES, 0);
	unsigned next = writer->first, in_flight = 0;

	for (;;) {
		while (in_flight < WRITER_ENTRIES && begin_write(own, writer, &next))
			in_flight++;
		if (in_flight == 0)
			break;

		const struct vdm_cqe cqe = next_completion(own);

		writer->writes[cqe.user_data].reported = fuse_file_now(&fuse);
		CHECK(cqe.result == 0, "%s", strerror(-cqe.result));
		in_flight--;
	}
	vdm_ring_close(own);
	return NULL;
}

/* A sync that began after all its bytes had been written was over before the report. */
static void assert_was_durable(const struct write *write, unsigned syncs)
{
	uint64_t written = 0;

	for (unsigned i = write->first; i < write->first + write->count; i++) {
		/* relaxed: all is over; partner: write_file() */
		const uint64_t at =
			atomic_load_explicit(&fuse.record->written[i], memory_order_relaxed);

		assert_true(at > 0);
		written = at > written ? at : written;
	}
	for (unsigned i = 0; i < syncs; i++) {
		const struct fuse_sync *sync = &fuse.record->sync[i];

		if (sync->begin > written && sync->end < write->reported)
			return;
	}
	fail_msg("blocks from %u on were reported as durable before they were", write->first);
}

static void forget_record(void)
{
	for (unsigned i = 0; i < FUSE_BLOCKS; i++)
		/* relaxed: nothing is in progress; partner: write_file() */
		atomic_store_explicit(&fuse.record->written[i], 0, memory_order_relaxed);
	/* relaxed: nothing is in progress; partner: sync_file() */
	atomic_store_explicit(&fuse.record->syncs, 0, memory_order_relaxed);
}

/* If the power failed at any time, what was reported as durable would be there. */
static void what_is_reported_as_durable_was_synced_before(void **state)
{
	static struct writer writers[WRITERS];
	pthread_t threads[WRITERS];
	unsigned writes = 0;

	(void)state;
	forget_record();
	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){.first = i * BLOCKS_EACH, .count = BLOCKS_EACH};
		assert_int_equal(pthread_create(&threads[i], NULL, write_durably, &writers[i]), 0);
	}
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);

	/* relaxed: all is over; partner: sync_file() */
	const unsigned syncs = atomic_load_explicit(&fuse.record->syncs, memory_order_relaxed);

	for (unsigned i = 0; i < WRITERS; i++) {
		for (unsigned k = 0; k < writers[i].begun; k++)
			assert_was_durable(&writers[i].writes[k], syncs);
		writes += writers[i].begun;
	}
	print_message("%u writes, %u syncs\n", writes, syncs);
	assert_true(syncs < writes);
}

static void forbid_io_uring(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {sizeof filter / sizeof *filter, filter};

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
		      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0,
	      "%s", strerror(errno));
}

static bool has_io_uring(void)
{
	/* without parameters: what is allowed at all fails for that */
	return syscall(SYS_io_uring_setup, 1, NULL) < 0 && errno == EFAULT;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(other_files_go_on_while_one_hangs),
		TEST(other_files_go_on_while_a_sync_hangs),
		TEST(what_waits_for_a_thread_comes_to_its_end),
		TEST(an_error_reaches_the_caller),
		TEST(after_a_failed_sync_nothing_is_durable),
		TEST(what_is_reported_as_durable_was_synced_before),
	};
	const bool threads = argc > 1 && strcmp(argv[1], "--threads") == 0;
	int result;

	local = true;
	guard_against_hanging(60);
	if (!threads && !has_io_uring()) {
		printf("skipped: io_uring is not allowed here\n");
		return 77;
	}
	result = fuse_file_start(&fuse);
	if (result) {
		printf("skipped: cannot mount a file system by FUSE: %s\n", strerror(-result));
		return 77;
	}
	if (threads)
		forbid_io_uring();
	result = cmocka_run_group_tests_name(threads ? "threads" : "io_uring", tests, NULL, NULL);
	fuse_file_stop(&fuse);
	return result;
}
