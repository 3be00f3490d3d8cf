/* SPDX-License-Identifier: BSD-3-Clause */
/* op/files.c: operations on files, by io_uring and by threads. */
#include "op/files.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cmocka.h>

#include "file_requests.h"
#include "op/backend.h"
#include "op/file_sync.h"

#define BYTES ((size_t)1 << 20)

/* Of the calls that are wrapped. */
static _Atomic int failing_submits;
static _Atomic bool hold_sync; /* the next sync waits until hold_fd is written to */
static int hold_fd = -1;

static int submit_error = -EAGAIN;

int __wrap_fdatasync(int fd);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
	eventfd_t count;

	/* relaxed: set before the operation is begun; partner: the test */
	if (atomic_exchange_explicit(&hold_sync, false, memory_order_relaxed))
		eventfd_read(hold_fd, &count);
	return __real_fdatasync(fd);
}

static bool at_once; /* the page cache moves what it can without waiting */

ssize_t __wrap_preadv2(int fd, const struct iovec *range, int ranges, off_t offset, int flags);
ssize_t __real_preadv2(int fd, const struct iovec *range, int ranges, off_t offset, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *range, int ranges, off_t offset, int flags)
{
	assert_int_equal(flags, RWF_NOWAIT);
	if (at_once)
		return __real_preadv2(fd, range, ranges, offset, flags);
	errno = EOPNOTSUPP;
	return -1;
}

/* Here it takes what it can without waiting whatever the file system, but half of it only. */
ssize_t __wrap_pwritev2(int fd, const struct iovec *range, int ranges, off_t offset, int flags);
ssize_t __wrap_pwritev2(int fd, const struct iovec *range, int ranges, off_t offset, int flags)
{
	assert_int_equal(flags, RWF_NOWAIT);
	if (at_once && ranges == 1)
		return pwrite(fd, range->iov_base, (range->iov_len + 1) / 2, offset);
	errno = EOPNOTSUPP;
	return -1;
}

/* A sync becomes a read of hold_fd. */
static void hold_entry(const struct io_uring *ring)
{
	static uint64_t count;

	for (unsigned i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++) {
		struct io_uring_sqe *sqe = &ring->sq.sqes[i & *ring->sq.kring_mask];
		const uint64_t data = sqe->user_data;

		/* relaxed: set before the operation is begun; partner: the test */
		if (sqe->opcode != IORING_OP_FSYNC ||
		    !atomic_exchange_explicit(&hold_sync, false, memory_order_relaxed))
			continue;
		io_uring_prep_read(sqe, hold_fd, &count, sizeof count, 0);
		sqe->user_data = data;
	}
}

static bool is_local; /* what the file system says that the files are on */

int __wrap_fstatfs(int fd, struct statfs *system);
int __wrap_fstatfs(int fd, struct statfs *system)
{
	(void)fd;
	*system = (struct statfs){.f_type = is_local ? EXT4_SUPER_MAGIC : NFS_SUPER_MAGIC};
	return 0;
}

int __wrap_io_uring_submit(struct io_uring *ring);
int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring)
{
	if (failing_submits > 0) {
		failing_submits--;
		return submit_error;
	}
	hold_entry(ring);
	return __real_io_uring_submit(ring);
}

static struct files *files;
static struct backend *backend;
static bool with_uring;
static char *memory;
static uint8_t fill; /* of operations that have one */

static void begin(struct waiting *waiting, uint8_t opcode, void *to, const void *from,
		  size_t length, uint16_t flags)
{
	const struct operation operation = {.opcode = opcode,
					    .destination = to,
					    .source = from,
					    .length = length,
					    .fill = fill,
					    .flags = flags};

	request_begin(waiting, backend, &operation);
}

static int carry_out(uint8_t opcode, void *to, const void *from, size_t length, uint16_t flags)
{
	struct waiting waiting;

	begin(&waiting, opcode, to, from, length, flags);
	return request_await(&waiting);
}

static int set_to(void *to, uint8_t byte, size_t length)
{
	struct waiting waiting;

	fill = byte;
	begin(&waiting, VDM_OPCODE_MEMSET, to, NULL, length, 0);
	return request_await(&waiting);
}

static char *add(int fd, uint64_t offset, uint64_t length, unsigned flags)
{
	return file_add(files, fd, offset, length, flags);
}

static int set_up(void **state)
{
	const struct files_options options = {.without_uring = !with_uring, .threads = 3};
	int why;

	(void)state;
	failing_submits = 0;
	assert_int_equal(files_new(&options, &files), 0);
	if (with_uring && !files_use_uring(files, &why))
		print_message("io_uring: %s: by threads\n", strerror(-why));
	backend = files_backend(files);
	memory = malloc(BYTES);
	assert_non_null(memory);
	for (size_t i = 0; i < BYTES; i++)
		memory[i] = (char)(i * 31 + i / 251);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	files_delete(files);
	free(memory);
	return 0;
}

/* Whatever the alignment, and whichever side is a file: as in a model in memory. */
static void bytes_are_moved(void **state)
{
	int fd = file_of(2 * BYTES);
	char *file = add(fd, 4096, BYTES, FILES_WRITABLE);
	char *model = calloc(1, BYTES), *read = malloc(BYTES);
	unsigned seed = 1;

	(void)state;
	for (unsigned i = 0; i < 400; i++) {
		const size_t length = (size_t)rand_r(&seed) % (i % 7 ? 9000 : BYTES / 2);
		const size_t to = (size_t)rand_r(&seed) % (BYTES - length);
		const size_t from = (size_t)rand_r(&seed) % (BYTES - length);

		switch (i % 4) {
		case 0:
			assert_int_equal(carry_out(VDM_OPCODE_MEMCPY, file + to, memory + from,
						   length, 0),
					 0);
			memcpy(model + to, memory + from, length);
			break;
		case 1:
			assert_int_equal(set_to(file + to, (uint8_t)(i % 3 ? i : 0), length), 0);
			memset(model + to, i % 3 ? (int)i : 0, length);
			break;
		case 2: /* also where they overlap */
			assert_int_equal(carry_out(VDM_OPCODE_MEMMOVE, file + to, file + from,
						   length, 0),
					 0);
			memmove(model + to, model + from, length);
			break;
		default:
			assert_int_equal(carry_out(VDM_OPCODE_MEMCPY, read, file + from, length, 0),
					 0);
			assert_memory_equal(read, model + from, length);
		}
	}
	assert_int_equal(pread(fd, read, BYTES, 4096), BYTES);
	assert_memory_equal(read, model, BYTES);
	/* nothing before it and nothing behind */
	assert_int_equal(pread(fd, read, 4096, 0), 4096);
	assert_true(read[0] == 0 && memcmp(read, read + 1, 4095) == 0);
	assert_int_equal(pread(fd, read, BYTES - 4096, BYTES + 4096), BYTES - 4096);
	assert_true(read[0] == 0 && memcmp(read, read + 1, BYTES - 4097) == 0);
	files_remove(files, file);
	free(model);
	free(read);
	close(fd);
}

static void many_operations_are_in_progress(void **state)
{
	enum { COUNT = 600 };
	struct waiting *waiting = calloc(COUNT, sizeof *waiting);
	int fd = file_of(BYTES);
	char *file = add(fd, 0, BYTES, FILES_WRITABLE), *read = malloc(BYTES);
	const size_t part = BYTES / COUNT;

	(void)state;
	for (unsigned i = 0; i < COUNT; i++)
		begin(&waiting[i], VDM_OPCODE_MEMCPY, file + i * part, memory + i * part, part,
		      i % 5 ? 0 : VDM_DESCRIPTOR_DURABLE);
	for (unsigned i = 0; i < COUNT; i++) {
		assert_int_equal(request_await(&waiting[i]), 0);
		assert_int_equal(waiting[i].request.done, part);
	}
	assert_int_equal(pread(fd, read, COUNT * part, 0), COUNT * part);
	assert_memory_equal(read, memory, COUNT * part);
	files_remove(files, file);
	free(read);
	free(waiting);
	close(fd);
}

static void what_cannot_be_added_is_refused(void **state)
{
	int fd = file_of(8192), directory = open(".", O_RDONLY | O_CLOEXEC);
	void *base = NULL;

	(void)state;
	assert_int_equal(files_add(files, fd, 0, 8193, 0, &base), -EFBIG);
	assert_int_equal(files_add(files, fd, 4096, 8192, FILES_WRITABLE, &base), -EFBIG);
	assert_int_equal(files_add(files, fd, UINT64_MAX - 4095, 4096, FILES_EXTEND, &base),
			 -EOVERFLOW);
	assert_int_equal(files_add(files, directory, 0, 4096, 0, &base), -EMEDIUMTYPE);
	assert_null(base);
	close(directory);
	close(fd);
}

/* A source at address zero is none of a fill. */
static void nothing_is_not_copied(void **state)
{
	int fd = file_of(4096);
	char *file = add(fd, 0, 4096, FILES_WRITABLE);

	(void)state;
	assert_int_equal(carry_out(VDM_OPCODE_MEMCPY, file, NULL, 100, 0), -EFAULT);
	files_remove(files, file);
	close(fd);
}

static void only_what_is_a_files_is_supported(void **state)
{
	int fd = file_of(8192);
	char *file = add(fd, 0, 8192, FILES_WRITABLE);
	struct operation operation = {.opcode = VDM_OPCODE_MEMCPY,
				      .facts = opcode_facts[VDM_OPCODE_MEMCPY],
				      .destination = memory,
				      .source = memory + 100,
				      .length = 100};

	(void)state;
	assert_false(backend->supports(backend, &operation));
	operation.destination = file + 8092;
	assert_true(backend->supports(backend, &operation));
	operation.destination = file + 8093; /* not wholly */
	assert_false(backend->supports(backend, &operation));
	operation.destination = memory;
	operation.source = file;
	assert_true(backend->supports(backend, &operation));
	files_remove(files, file);
	assert_false(backend->supports(backend, &operation));
	close(fd);
}

static void the_end_of_a_truncated_file_is_told(void **state)
{
	int fd = file_of(BYTES);
	char *file = add(fd, 0, BYTES, 0);
	struct waiting waiting;

	(void)state;
	assert_int_equal(ftruncate(fd, 10000), 0);
	begin(&waiting, VDM_OPCODE_MEMCPY, memory, file + 1000, 20000, 0);
	assert_int_equal(request_await(&waiting), -ENODATA);
	assert_int_equal(waiting.request.done, 9000);
	files_remove(files, file);
	close(fd);
}

static void a_file_that_is_read_only_is_not_written(void **state)
{
	int fd = file_of(4096);
	char *file = add(fd, 0, 4096, 0);

	(void)state;
	assert_int_equal(carry_out(VDM_OPCODE_MEMCPY, file, memory, 10, 0), -EACCES);
	assert_int_equal(set_to(file, 1, 10), -EACCES);
	files_remove(files, file);
	close(fd);
}

static void a_file_is_extended(void **state)
{
	int fd = file_of(0);
	char *file = add(fd, 0, BYTES, FILES_WRITABLE | FILES_EXTEND);

	(void)state;
	assert_int_equal(carry_out(VDM_OPCODE_MEMCPY, file + 5000, memory, 300, 0), 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), 5300);
	files_remove(files, file);
	close(fd);
}

static void a_missing_page_of_memory_fails_the_operation(void **state)
{
	int fd = file_of(BYTES);
	char *file = add(fd, 0, BYTES, FILES_WRITABLE);
	char *hole = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct waiting waiting;

	(void)state;
	munmap(hole + 4096, 4096);
	begin(&waiting, VDM_OPCODE_MEMCPY, file, hole, 8192, 0);
	assert_int_equal(request_await(&waiting), -EFAULT);
	assert_int_equal(waiting.request.done, 4096);
	munmap(hole, 4096);
	files_remove(files, file);
	close(fd);
}

static void durable_operations_share_syncs(void **state)
{
	enum { COUNT = 32 };
	struct waiting waiting[COUNT];
	int fd = file_of(BYTES);
	char *found = malloc(BYTES);
	/* two parts of one file */
	char *file[] = {add(fd, 0, BYTES, FILES_WRITABLE), add(fd, 0, BYTES, FILES_WRITABLE)};

	(void)state;
	hold_fd = eventfd(0, EFD_CLOEXEC);
	assert_true(hold_fd >= 0 && found);
	hold_sync = true;
	for (unsigned i = 0; i < COUNT; i++)
		begin(&waiting[i], VDM_OPCODE_MEMCPY, file[i % 2] + i * 4096, memory + i * 4096,
		      4096, VDM_DESCRIPTOR_DURABLE);
	/* all are written while the first sync is in progress */
	do
		assert_int_equal(pread(fd, found, BYTES / 2, 0), BYTES / 2);
	while (memcmp(found, memory, COUNT * 4096ul) != 0);
	eventfd_write(hold_fd, 1);
	for (unsigned i = 0; i < COUNT; i++)
		assert_int_equal(request_await(&waiting[i]), 0);
	/* That one is for none of those that came later. The next one may be begun before the last
	 * of them, which have been written, have been seen to be. */
	assert_in_range(files_syncs(files), 2, 4);
	close(hold_fd);
	free(found);
	/* a flush is one, and an operation that is not durable is none */
	const uint64_t before = files_syncs(files);

	assert_int_equal(carry_out(VDM_OPCODE_MEMCPY, file[0], memory, 4096, 0), 0);
	assert_int_equal(files_syncs(files), before);
	assert_int_equal(carry_out(VDM_OPCODE_FLUSH, file[0], NULL, 4096, 0), 0);
	assert_int_equal(files_syncs(files), before + 1);
	files_remove(files, file[0]);
	files_remove(files, file[1]);
	close(fd);
}

static void what_could_not_be_submitted_is_submitted_later(void **state)
{
	int fd = file_of(BYTES);
	char *file = add(fd, 0, BYTES, FILES_WRITABLE);

	(void)state;
	failing_submits = 3;
	assert_int_equal(carry_out(VDM_OPCODE_MEMCPY, file, memory, 5000, 0), 0);
	assert_true(failing_submits == (with_uring ? 0 : 3));
	files_remove(files, file);
	close(fd);
}

/* On storage of this machine, by the submitting thread: io_uring gets nothing. */
static void a_local_file_is_written_at_once(void **state)
{
	const int opened = file_of(BYTES);
	char found[5000];
	char *at;

	(void)state;
	is_local = true;
	at = add(opened, 0, BYTES, FILES_WRITABLE);
	is_local = false;
	failing_submits = 3;
	assert_int_equal(carry_out(VDM_OPCODE_MEMCPY, at, memory, 5000, 0), 0);
	assert_int_equal(failing_submits, 3);
	failing_submits = 0;
	assert_int_equal(pread(opened, found, 5000, 0), 5000);
	assert_memory_equal(found, memory, 5000);
	files_remove(files, at);
	close(opened);
}

/* A filter of system calls may come later than the ring. */
static void what_the_kernel_refuses_is_done_by_threads(void **state)
{
	int fd = file_of(BYTES);
	char *file = add(fd, 0, BYTES, FILES_WRITABLE), *read = malloc(BYTES);

	(void)state;
	failing_submits = 1000000;
	submit_error = -EPERM;
	for (unsigned i = 0; i < 3; i++) {
		memset(read, 0, BYTES);
		assert_int_equal(carry_out(VDM_OPCODE_MEMCPY, file, memory, BYTES,
					   VDM_DESCRIPTOR_DURABLE),
				 0);
		assert_int_equal(carry_out(VDM_OPCODE_MEMCPY, read, file, BYTES, 0), 0);
		assert_memory_equal(read, memory, BYTES);
	}
	submit_error = -EAGAIN;
	failing_submits = 0;
	files_remove(files, file);
	free(read);
	close(fd);
}

/* A copy within a file extends it, but what it has not had is not copied. */
static void the_end_of_a_source_is_that_before_the_copy(void **state)
{
	int fd = file_of(500000);
	char *file = add(fd, 0, 4 * BYTES, FILES_WRITABLE | FILES_EXTEND);
	struct waiting waiting;

	(void)state;
	begin(&waiting, VDM_OPCODE_MEMCPY, file + 2 * BYTES, file + 400000, 600000, 0);
	assert_int_equal(request_await(&waiting), -ENODATA);
	assert_int_equal(waiting.request.done, 100000);
	files_remove(files, file);
	close(fd);
}

/* Another one may have been opened after the kernel had reported what the first has lost. */
static void a_sync_is_by_the_descriptor_that_was_added_first(void **state)
{
	struct file_work begun = {.fd = 3, .part = 2}, works[] = {{.fd = 5, .part = 1},
								  {.fd = 4, .part = 0},
								  {.fd = 3, .part = 2}};
	struct file_works finished = STAILQ_HEAD_INITIALIZER(finished);
	struct file_inode inode;

	(void)state;
	file_inode_init(&inode, 0, 0);
	assert_int_equal(file_sync_join(&inode, &begun)->fd, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_null(file_sync_join(&inode, &works[i]));
	assert_int_equal(file_sync_end(&inode, &finished)->fd, 4);
	assert_null(file_sync_end(&inode, &finished));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bytes_are_moved),
		TEST(many_operations_are_in_progress),
		TEST(what_cannot_be_added_is_refused),
		TEST(nothing_is_not_copied),
		TEST(only_what_is_a_files_is_supported),
		TEST(the_end_of_a_truncated_file_is_told),
		TEST(a_file_that_is_read_only_is_not_written),
		TEST(a_file_is_extended),
		TEST(a_missing_page_of_memory_fails_the_operation),
		TEST(durable_operations_share_syncs),
		TEST(what_could_not_be_submitted_is_submitted_later),
		TEST(a_local_file_is_written_at_once),
		TEST(what_the_kernel_refuses_is_done_by_threads),
		TEST(the_end_of_a_source_is_that_before_the_copy),
		cmocka_unit_test(a_sync_is_by_the_descriptor_that_was_added_first),
	};
	static const char *const names[] = {"io_uring", "threads", "io_uring after the page cache",
					    "threads after the page cache"};
	int failed = 0;

	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		with_uring = i % 2 == 0;
		at_once = i >= 2;
		failed += cmocka_run_group_tests_name(names[i], tests, NULL, NULL);
	}
	return failed;
}
