/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * op/files.c when the system fails: io_uring is missing or stops, a call moves fewer bytes than
 * asked, or returns an error. With io_uring, an entry is changed before the kernel takes it: to one
 * of fewer bytes, or to a no-operation with the result that is wanted.
 */
#include "op/files.h"

#include <errno.h>
#include <liburing.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cmocka.h>

#include "file_requests.h"

#define BYTES ((size_t)64 << 10)

/* Of Linux 6.10; liburing's header may be older: IORING_NOP_INJECT_RESULT. */
#define NOP_INJECT_RESULT 1

enum call { CALL_READ, CALL_WRITE, CALL_SYNC, CALL_SUBMIT, CALL_SETUP, CALLS };

/* What becomes of the nth call, from 1 on. NO_FAULT, most bytes, or a negative errno. */
#define NO_FAULT 0
static int (*fault)(enum call call, unsigned nth);
static _Atomic unsigned calls[CALLS];

static int strike(enum call call)
{
	/* relaxed: a count; no partner */
	const unsigned nth = atomic_fetch_add_explicit(&calls[call], 1, memory_order_relaxed) + 1;

	return fault ? fault(call, nth) : NO_FAULT;
}

static size_t at_most(size_t bytes, int most)
{
	return most > 0 && (size_t)most < bytes ? (size_t)most : bytes;
}

static int failed(int result)
{
	errno = -result;
	return -1;
}

ssize_t __wrap_pread(int fd, void *memory, size_t bytes, off_t position);
ssize_t __real_pread(int fd, void *memory, size_t bytes, off_t position);
ssize_t __wrap_pread(int fd, void *memory, size_t bytes, off_t position)
{
	const int result = strike(CALL_READ);

	return result < 0 ? failed(result)
			  : __real_pread(fd, memory, at_most(bytes, result), position);
}

ssize_t __wrap_pwrite(int fd, const void *memory, size_t bytes, off_t position);
ssize_t __real_pwrite(int fd, const void *memory, size_t bytes, off_t position);
ssize_t __wrap_pwrite(int fd, const void *memory, size_t bytes, off_t position)
{
	const int result = strike(CALL_WRITE);

	return result < 0 ? failed(result)
			  : __real_pwrite(fd, memory, at_most(bytes, result), position);
}

int __wrap_fdatasync(int fd);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
	const int result = strike(CALL_SYNC);

	return result < 0 ? failed(result) : __real_fdatasync(fd);
}

/* The page cache moves nothing at once: what is tested here comes after that. */
ssize_t __wrap_preadv2(int fd, const struct iovec *range, int ranges, off_t position, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *range, int ranges, off_t position, int flags)
{
	(void)fd, (void)range, (void)ranges, (void)position, (void)flags;
	return failed(-EAGAIN);
}

ssize_t __wrap_pwritev2(int fd, const struct iovec *range, int ranges, off_t position, int flags);
ssize_t __wrap_pwritev2(int fd, const struct iovec *range, int ranges, off_t position, int flags)
{
	(void)fd, (void)range, (void)ranges, (void)position, (void)flags;
	return failed(-EOPNOTSUPP);
}

static void inject(struct io_uring_sqe *sqe, int result)
{
	const uint64_t data = sqe->user_data;

	io_uring_prep_nop(sqe);
	sqe->rw_flags = NOP_INJECT_RESULT;
	sqe->len = (unsigned)result;
	sqe->user_data = data;
}

static void change(struct io_uring_sqe *sqe)
{
	int result = NO_FAULT;

	if (sqe->opcode == IORING_OP_READ)
		result = strike(CALL_READ);
	else if (sqe->opcode == IORING_OP_WRITE)
		result = strike(CALL_WRITE);
	else if (sqe->opcode == IORING_OP_FSYNC)
		result = strike(CALL_SYNC);
	if (result < 0)
		inject(sqe, result);
	else if (result > 0)
		sqe->len = (unsigned)at_most(sqe->len, result);
}

/* On no file system whose files are written by the submitting thread. */
int __wrap_fstatfs(int fd, struct statfs *system);
int __wrap_fstatfs(int fd, struct statfs *system)
{
	(void)fd;
	*system = (struct statfs){.f_type = NFS_SUPER_MAGIC};
	return 0;
}

int __wrap_io_uring_submit(struct io_uring *ring);
int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring)
{
	const int result = strike(CALL_SUBMIT);

	if (result < 0)
		return result;
	for (unsigned i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++)
		change(&ring->sq.sqes[i & *ring->sq.kring_mask]);
	return __real_io_uring_submit(ring);
}

int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __real_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
	int result;

	if (flags & IORING_SETUP_R_DISABLED)
		return -EINVAL; /* as before Linux 5.10: what is injected is not allowed else */
	result = strike(CALL_SETUP);
	return result < 0 ? result : __real_io_uring_queue_init(entries, ring, flags);
}

int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
				      struct io_uring_params *params);
int __real_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
				      struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
				      struct io_uring_params *params)
{
	const int result = strike(CALL_SETUP);

	return result < 0 ? result : __real_io_uring_queue_init_params(entries, ring, params);
}

static struct files *files;
static bool with_uring, injects;
static int fd;
static char *file, *memory, *found;

static int set_up(void **state)
{
	const struct files_options options = {.without_uring = !with_uring, .threads = 3};

	(void)state;
	fault = NULL;
	for (unsigned i = 0; i < CALLS; i++)
		calls[i] = 0;
	assert_int_equal(files_new(&options, &files), 0);
	fd = file_of(BYTES);
	file = file_add(files, fd, 0, BYTES, FILES_WRITABLE);
	memory = malloc(BYTES);
	found = calloc(1, BYTES);
	assert_true(memory && found);
	for (size_t i = 0; i < BYTES; i++)
		memory[i] = (char)(i * 31 + i / 251);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	files_remove(files, file);
	files_delete(files);
	close(fd);
	free(memory);
	free(found);
	return 0;
}

static void begin_copy(struct waiting *waiting, void *to, const void *from, size_t length,
		       uint16_t flags)
{
	const struct operation operation = {.opcode = VDM_OPCODE_MEMCPY,
					    .destination = to,
					    .source = from,
					    .length = length,
					    .flags = flags};

	request_begin(waiting, files_backend(files), &operation);
}

/* Returns the error, and stores how many bytes have been moved. */
static int copy(void *to, const void *from, uint16_t flags, size_t *done)
{
	struct waiting waiting;
	const int error = (begin_copy(&waiting, to, from, BYTES, flags), request_await(&waiting));

	if (done)
		*done = waiting.request.done;
	return error;
}

static int flush(void)
{
	const struct operation operation = {
		.opcode = VDM_OPCODE_FLUSH, .destination = file, .length = BYTES};
	struct waiting waiting;

	request_begin(&waiting, files_backend(files), &operation);
	return request_await(&waiting);
}

static void assert_in_file(size_t length)
{
	assert_int_equal(__real_pread(fd, found, length, 0), length);
	assert_memory_equal(found, memory, length);
}

/* Errors of single operations need a kernel that can be told to make them. */
static void needs_errors(void)
{
	if (with_uring && !injects)
		skip();
}

static int setup_error;

static int setup_fails(enum call call, unsigned nth)
{
	(void)nth;
	return call == CALL_SETUP ? setup_error : NO_FAULT;
}

static void without_io_uring_threads_carry_out(void **state)
{
	static const int errors[] = {-ENOSYS, -EPERM, -ENOMEM};
	const struct files_options options = {0};

	(void)state;
	for (unsigned i = 0; i < sizeof errors / sizeof *errors; i++) {
		struct files *before = files;
		char *file_before = file;
		int why = 0;

		fault = setup_fails;
		setup_error = errors[i];
		assert_int_equal(files_new(&options, &files), 0);
		assert_false(files_use_uring(files, &why));
		assert_int_equal(why, errors[i]);
		file = file_add(files, fd, 0, BYTES, FILES_WRITABLE);
		assert_int_equal(copy(file, memory, VDM_DESCRIPTOR_DURABLE, NULL), 0);
		assert_int_equal(copy(found, file, 0, NULL), 0);
		assert_memory_equal(found, memory, BYTES);
		files_remove(files, file);
		files_delete(files);
		files = before;
		file = file_before;
	}
	assert_int_equal(calls[CALL_SUBMIT], 0);
}

static int submits_fail_for_a_while(enum call call, unsigned nth)
{
	static const int errors[] = {-EAGAIN, -EBUSY, -EINTR, -ENOMEM};

	return call == CALL_SUBMIT && nth % 8 >= 4 ? errors[nth % 4] : NO_FAULT;
}

/* Another error than those is for ever. */
static int submits_end(enum call call, unsigned nth)
{
	return call == CALL_SUBMIT && nth > 5 ? -EPERM : NO_FAULT;
}

static void copy_many(void)
{
	enum { COUNT = 64 };
	const size_t part = BYTES / COUNT;
	struct waiting waiting[COUNT];

	for (unsigned i = 0; i < COUNT; i++)
		begin_copy(&waiting[i], file + i * part, memory + i * part, part,
			   i % 4 ? 0 : VDM_DESCRIPTOR_DURABLE);
	for (unsigned i = 0; i < COUNT; i++) {
		assert_int_equal(request_await(&waiting[i]), 0);
		assert_int_equal(waiting[i].request.done, part);
	}
	assert_in_file(BYTES);
}

static void submissions_are_repeated_or_go_to_threads(void **state)
{
	(void)state;
	fault = submits_fail_for_a_while;
	copy_many();
	fault = submits_end;
	calls[CALL_SUBMIT] = 0;
	memory[0]++;
	copy_many();
	/* and nothing more is given to io_uring */
	const unsigned before = calls[CALL_SUBMIT];

	copy_many();
	assert_int_equal(calls[CALL_SUBMIT], before);
}

static int moves_little(enum call call, unsigned nth)
{
	(void)nth;
	return call == CALL_READ || call == CALL_WRITE ? 1000 : NO_FAULT;
}

static void what_is_moved_in_part_goes_on(void **state)
{
	size_t done;

	(void)state;
	fault = moves_little;
	assert_int_equal(copy(file, memory, VDM_DESCRIPTOR_DURABLE, &done), 0);
	assert_int_equal(done, BYTES);
	assert_in_file(BYTES);
	memset(found, 0, BYTES);
	assert_int_equal(copy(found, file, 0, &done), 0);
	assert_int_equal(done, BYTES);
	assert_memory_equal(found, memory, BYTES);
	assert_true(calls[CALL_READ] > BYTES / 1000);
	assert_true(calls[CALL_WRITE] > BYTES / 1000);
	/* the end of the file */
	assert_int_equal(ftruncate(fd, 2500), 0);
	assert_int_equal(copy(found, file, 0, &done), -ENODATA);
	assert_int_equal(done, 2500);
}

static int is_interrupted(enum call call, unsigned nth)
{
	static const int results[] = {-EINTR, -EAGAIN, 3000};

	return call == CALL_READ || call == CALL_WRITE ? results[nth % 3] : NO_FAULT;
}

static int never_has_time(enum call call, unsigned nth)
{
	(void)nth;
	return call == CALL_READ || call == CALL_WRITE ? -EAGAIN : NO_FAULT;
}

static void an_interrupted_operation_goes_on(void **state)
{
	size_t done;

	(void)state;
	needs_errors();
	fault = is_interrupted;
	assert_int_equal(copy(file, memory, 0, &done), 0);
	assert_int_equal(done, BYTES);
	assert_in_file(BYTES);
	assert_int_equal(copy(found, file, 0, &done), 0);
	assert_memory_equal(found, memory, BYTES);
	/* but not for ever */
	fault = never_has_time;
	assert_int_equal(copy(file, memory, 0, &done), -EAGAIN);
	assert_int_equal(done, 0);
}

static int later_error;

static int fails_later(enum call call, unsigned nth)
{
	if (call != CALL_READ && call != CALL_WRITE)
		return NO_FAULT;
	return nth < 4 ? 1000 : later_error;
}

static void an_error_comes_with_what_was_moved(void **state)
{
	static const int errors[] = {-ENOSPC, -EDQUOT, -EIO, -EFBIG, -ENOMEM};
	size_t done;

	(void)state;
	needs_errors();
	for (unsigned i = 0; i < sizeof errors / sizeof *errors; i++) {
		memory[i]++;
		fault = fails_later;
		later_error = errors[i];
		calls[CALL_READ] = calls[CALL_WRITE] = 0;
		assert_int_equal(copy(file, memory, VDM_DESCRIPTOR_DURABLE, &done), errors[i]);
		assert_int_equal(done, 3000);
		fault = NULL;
		assert_in_file(3000);
		fault = fails_later;
		calls[CALL_READ] = 0;
		assert_int_equal(copy(found, file, 0, &done), errors[i]);
		assert_int_equal(done, 3000);
	}
	/* a write that failed says nothing about what was written before */
	fault = NULL;
	assert_int_equal(flush(), 0);
	assert_int_equal(copy(file, memory, VDM_DESCRIPTOR_DURABLE, NULL), 0);
}

static int first_sync_fails(enum call call, unsigned nth)
{
	return call == CALL_SYNC && nth == 1 ? -EIO : NO_FAULT;
}

static void after_a_failed_sync_nothing_is_durable(void **state)
{
	enum { COUNT = 16 };
	struct waiting waiting[COUNT];
	char *second;

	(void)state;
	needs_errors();
	fault = first_sync_fails;
	for (unsigned i = 0; i < COUNT; i++)
		begin_copy(&waiting[i], file, memory, 100, VDM_DESCRIPTOR_DURABLE);
	for (unsigned i = 0; i < COUNT; i++)
		assert_int_equal(request_await(&waiting[i]), -EIO);
	/* also by another part of it */
	second = file_add(files, fd, 0, BYTES, FILES_WRITABLE);
	assert_int_equal(copy(second, memory, VDM_DESCRIPTOR_DURABLE, NULL), -EIO);
	files_remove(files, second);
	assert_int_equal(flush(), -EIO);
	assert_int_equal(copy(file, memory, 0, NULL), 0);
	assert_int_equal(copy(found, file, 0, NULL), 0);
	assert_memory_equal(found, memory, BYTES);
	/* until it is added again */
	files_remove(files, file);
	file = file_add(files, fd, 0, BYTES, FILES_WRITABLE);
	assert_int_equal(copy(file, memory, VDM_DESCRIPTOR_DURABLE, NULL), 0);
	assert_int_equal(flush(), 0);
}

static int syncs_are_interrupted(enum call call, unsigned nth)
{
	(void)nth;
	return call == CALL_SYNC ? -EINTR : NO_FAULT;
}

/* Such a sync may have lost a page. */
static void an_interrupted_sync_has_failed(void **state)
{
	(void)state;
	needs_errors();
	fault = syncs_are_interrupted;
	assert_int_equal(copy(file, memory, VDM_DESCRIPTOR_DURABLE, NULL), -EINTR);
	fault = NULL;
	assert_int_equal(flush(), -EINTR);
}

/* Whether this kernel has io_uring, and lets a no-operation have any result. */
static void probe(void)
{
	struct io_uring ring;
	struct io_uring_cqe *cqe;

	if (__real_io_uring_queue_init(1, &ring, 0) < 0)
		return;
	inject(io_uring_get_sqe(&ring), -EDQUOT);
	if (__real_io_uring_submit(&ring) == 1 && io_uring_wait_cqe(&ring, &cqe) == 0)
		injects = cqe->res == -EDQUOT;
	io_uring_queue_exit(&ring);
	if (!injects)
		print_message("io_uring: no errors can be made here: Linux 6.10 can\n");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(without_io_uring_threads_carry_out),
		TEST(submissions_are_repeated_or_go_to_threads),
		TEST(what_is_moved_in_part_goes_on),
		TEST(an_interrupted_operation_goes_on),
		TEST(an_error_comes_with_what_was_moved),
		TEST(after_a_failed_sync_nothing_is_durable),
		TEST(an_interrupted_sync_has_failed),
	};
	int count = 0;

	probe();
	for (unsigned i = 0; i < 2; i++) {
		with_uring = i == 0;
		count += cmocka_run_group_tests_name(with_uring ? "io_uring" : "threads", tests,
						     NULL, NULL);
	}
	return count;
}
