/* SPDX-License-Identifier: BSD-3-Clause */
#include "porter_jail.h"

#include <sys/mman.h>

#include "jail.h"

/*
 * Bytes of memory: some 9 MiB of the program and its libraries, 64 KiB, and 1 KiB for each
 * connection are used. The limit of data, setrlimit(2), counts neither shared memory nor stacks.
 */
#define MOST_MEMORY (64ul << 20)

static const int calls[] = {SCMP_SYS(pidfd_open), SCMP_SYS(mremap)};

/* Memory that is not a file's and not executable. */
static int add_rules(scmp_filter_ctx filter)
{
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2,
				SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
				SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS));
}

int porter_jail(void)
{
	static const struct jail jail = {RLIMIT_AS, MOST_MEMORY, calls,
					 sizeof calls / sizeof *calls, add_rules};

	return jail_enter(&jail);
}
