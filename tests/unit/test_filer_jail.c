/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon/filer_jail.c: a filer that its user has taken over can open nothing and harm no other
 * process, by its own calls or through io_uring, and uses little memory. It has what operations on
 * files need.
 */
#include "daemon/filer_jail.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "op/file_uring.h"
#include "tests/integration/scale.h"

#define MUCH ((size_t)512 << 20)

/* Run a function in a process that is jailed. Returns its result, or 100 and more if it cannot. */
static int in_jail(int (*run)(void *context), void *context)
{
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(filer_jail() < 0 ? 100 : run(context));
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static bool is_forbidden(long result)
{
	return result < 0 && errno == EPERM;
}

/* Each returns 0, or the number of the first thing that is not as it has to be. */

static int open_things(void *context)
{
	char *none[] = {NULL};

	(void)context;
	if (!is_forbidden(open("/proc/self/comm", O_RDONLY)) ||
	    !is_forbidden(openat(AT_FDCWD, ".", O_RDONLY)))
		return 1;
	if (!is_forbidden(socket(AF_UNIX, SOCK_STREAM, 0)) || !is_forbidden(connect(0, NULL, 0)) ||
	    !is_forbidden(bind(0, NULL, 0)))
		return 2;
	if (!is_forbidden(execve("/bin/true", none, none)))
		return 3;
	if (!is_forbidden(syscall(SYS_io_uring_setup, 1, NULL)) ||
	    !is_forbidden(syscall(SYS_io_uring_register, 0, 0, NULL, 0)))
		return 4;
	return is_forbidden(syscall(SYS_userfaultfd, 0)) ? 0 : 5;
}

static int touch_others(void *context)
{
	const pid_t parent = getppid();
	struct iovec vector = {context, 1};
	struct flock lock = {.l_type = F_WRLCK};
	const int *ends = context;

	if (!is_forbidden(kill(parent, 0)) || !is_forbidden(syscall(SYS_tgkill, parent, parent, 0)))
		return 1;
	if (!is_forbidden(ptrace(PTRACE_ATTACH, parent, NULL, NULL)) ||
	    !is_forbidden(process_vm_readv(parent, &vector, 1, &vector, 1, 0)))
		return 2;
	if (!is_forbidden(syscall(SYS_pidfd_open, parent, 0)) ||
	    !is_forbidden(syscall(SYS_pidfd_send_signal, 0, 0, NULL, 0)))
		return 3;
	/* the kernel would signal another process */
	if (!is_forbidden(ioctl(ends[0], FIOASYNC, &(int){1})) ||
	    !is_forbidden(fcntl(ends[0], F_SETOWN, parent)) ||
	    !is_forbidden(fcntl(ends[0], F_SETFL, O_ASYNC)) ||
	    !is_forbidden(fcntl(ends[0], F_SETLK, &lock)))
		return 4;
	return is_forbidden(fork()) ? 0 : 5;
}

static void *run_thread(void *context)
{
	return context;
}

static int have_what_it_needs(void *context)
{
	const int *ends = context;
	int pair[2], fd = memfd_create("ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	pthread_t thread;
	void *result;

	if (fd < 0 || ftruncate(fd, 4096) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
		return 1;
	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED)
		return 2;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0 || fcntl(fd, F_DUPFD_CLOEXEC, 0) < 0)
		return 3;
	if (pthread_create(&thread, NULL, run_thread, context) != 0 ||
	    pthread_join(thread, &result) != 0 || result != ends)
		return 4;
	return 0;
}

static int use_memory(void *context)
{
	(void)context;
	if (mmap(NULL, MUCH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	    MAP_FAILED)
		return 1;
	/* addresses of a file */
	if (mmap(NULL, MUCH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) ==
	    MAP_FAILED)
		return 2;
	if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	    MAP_FAILED)
		return 3;

	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(page, 4096, PROT_READ | PROT_EXEC) < 0 ? 0 : 4;
}

static int ends[2];

static void is_as_it_has_to_be(int (*run)(void *context))
{
	if (is_sanitized())
		skip();
	assert_int_equal(in_jail(run, ends), 0);
}

static void it_can_open_nothing(void **state)
{
	(void)state;
	is_as_it_has_to_be(open_things);
}

static void it_can_touch_no_other_process(void **state)
{
	(void)state;
	is_as_it_has_to_be(touch_others);
}

static void it_has_what_it_needs(void **state)
{
	(void)state;
	is_as_it_has_to_be(have_what_it_needs);
}

static void its_memory_is_limited_and_not_executable(void **state)
{
	(void)state;
	is_as_it_has_to_be(use_memory);
}

/* That waits until the jail is there, and tries then. */
static void *open_late(void *context)
{
	char byte;

	if (read(*(int *)context, &byte, 1) != 1)
		return NULL;
	return open("/proc/self/comm", O_RDONLY) < 0 ? context : NULL;
}

static void threads_that_run_already_are_jailed_too(void **state)
{
	int status;
	pid_t child;

	(void)state;
	if (is_sanitized())
		skip();
	child = fork();
	if (child == 0) {
		pthread_t thread;
		void *result = NULL;

		if (pthread_create(&thread, NULL, open_late, &ends[0]) != 0 || filer_jail() < 0 ||
		    write(ends[1], "", 1) != 1 || pthread_join(thread, &result) != 0)
			_exit(2);
		_exit(result != &ends[0]);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* Have the kernel carry out one operation through the ring of files. Returns its result. */
static int through_ring(struct file_uring *uring, void (*prepare)(struct io_uring_sqe *sqe))
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
	struct io_uring_cqe *cqe;
	int result;

	prepare(sqe);
	assert_int_equal(io_uring_submit(&uring->ring), 1);
	assert_int_equal(io_uring_wait_cqe(&uring->ring, &cqe), 0);
	result = cqe->res;
	io_uring_cqe_seen(&uring->ring, cqe);
	return result;
}

static void prepare_open(struct io_uring_sqe *sqe)
{
	io_uring_prep_openat(sqe, AT_FDCWD, "/proc/self/comm", O_RDONLY, 0);
}

static void prepare_socket(struct io_uring_sqe *sqe)
{
	io_uring_prep_socket(sqe, AF_UNIX, SOCK_STREAM, 0, 0);
}

static void prepare_close(struct io_uring_sqe *sqe)
{
	io_uring_prep_close(sqe, ends[0]);
}

static void prepare_read(struct io_uring_sqe *sqe)
{
	static char bytes[8];

	io_uring_prep_read(sqe, ends[0], bytes, sizeof bytes, 0);
}

static void io_uring_opens_nothing_either(void **state)
{
	struct file_uring uring;
	int result = file_uring_open(&uring);

	(void)state;
	if (result)
		skip(); /* the system does not allow it */
	assert_int_equal(through_ring(&uring, prepare_open), -EACCES);
	assert_int_equal(through_ring(&uring, prepare_socket), -EACCES);
	assert_int_equal(through_ring(&uring, prepare_close), -EACCES);
	assert_int_equal(write(ends[1], "", 1), 1);
	assert_int_equal(through_ring(&uring, prepare_read), 1);
	assert_int_equal(io_uring_register_files_sparse(&uring.ring, 1), -EACCES);
	file_uring_close(&uring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_can_open_nothing),
		cmocka_unit_test(it_can_touch_no_other_process),
		cmocka_unit_test(it_has_what_it_needs),
		cmocka_unit_test(its_memory_is_limited_and_not_executable),
		cmocka_unit_test(threads_that_run_already_are_jailed_too),
		cmocka_unit_test(io_uring_opens_nothing_either),
	};

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
