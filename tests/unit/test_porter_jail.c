/* SPDX-License-Identifier: BSD-3-Clause */
/* daemon/porter_jail.c: a porter that its user has taken over uses little memory. */
#include "daemon/porter_jail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/integration/scale.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_memory_is_limited_of_whatever_kind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
