/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon/porter_jail.c: a porter that its user has taken over uses little memory, and has no calls
 * with which it could harm others.
 */
#include "daemon/porter_jail.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/integration/scale.h"

/* Linux 6.16; older C libraries do not know it. */
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

#define MUCH ((size_t)256 << 20)

static int map_much(int flags)
{
	return mmap(NULL, MUCH, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}

/* What the limit of data, setrlimit(2), does not count, too. */
static int use_much(void)
{
	char here;
	char *stack = (char *)((uintptr_t)&here & ~(uintptr_t)4095);

	return map_much(MAP_PRIVATE) || map_much(MAP_SHARED) ||
	       map_much(MAP_PRIVATE | MAP_GROWSDOWN) ||
	       mremap(stack, 4096, MUCH, MREMAP_MAYMOVE) != MAP_FAILED;
}

static void its_memory_is_limited_of_whatever_kind(void **state)
{
	int status;
	pid_t child;

	(void)state;
	if (is_sanitized())
		skip();
	child = fork();
	if (child == 0)
		_exit(porter_jail() < 0 ? 2 : use_much());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* Returns 0 if each is forbidden, or the number of the first that is not. */
static int try_calls(int ends[2])
{
	struct flock lock = {.l_type = F_WRLCK};
	int bytes;

	if (ioctl(ends[0], FIOASYNC, &(int){1}) == 0 || fcntl(ends[0], F_SETOWN, getppid()) == 0 ||
	    fcntl(ends[0], F_SETFL, O_ASYNC) == 0)
		return 1; /* the kernel would signal another process */
	if (fcntl(ends[0], F_SETLK, &lock) == 0)
		return 2;
	if (epoll_create1(0) >= 0 || dup(ends[0]) >= 0 || fcntl(ends[0], F_DUPFD, 0) >= 0)
		return 3; /* of which it could have very many */
	if (setsockopt(ends[0], SOL_SOCKET, SO_PASSRIGHTS, &(int){1}, sizeof(int)) == 0)
		return 4; /* of a socket that the daemon closes, too */
	if (open("/proc/self/comm", O_RDONLY) >= 0 || socket(AF_UNIX, SOCK_STREAM, 0) >= 0)
		return 5;
	/* what it needs */
	return ioctl(ends[0], SIOCOUTQ, &bytes) < 0 || setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED,
								  &(int){1}, sizeof(int)) < 0
		       ? 6
		       : 0;
}

static void it_can_harm_no_other_process(void **state)
{
	int status, ends[2];
	pid_t child;

	(void)state;
	if (is_sanitized())
		skip();
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	child = fork();
	if (child == 0)
		_exit(porter_jail() < 0 ? 100 : try_calls(ends));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_can_harm_no_other_process),
		cmocka_unit_test(its_memory_is_limited_of_whatever_kind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
