/* SPDX-License-Identifier: BSD-3-Clause */
#include "filer_jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "jail.h"

/*
 * Bytes of data, with the stacks of threads, 8 MiB each. It maps clients' memory, which RLIMIT_AS
 * would count, and so would it the addresses of files.
 */
#define MOST_DATA (256ul << 20)

/* Linux 6.16; older C libraries do not know it. */
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

static const int calls[] = {
	/* operations on files: by threads, and by io_uring, which has its own restrictions */
	SCMP_SYS(pread64), SCMP_SYS(pwrite64), SCMP_SYS(preadv2), SCMP_SYS(pwritev2),
	SCMP_SYS(fdatasync), SCMP_SYS(sync_file_range), SCMP_SYS(fallocate),
	SCMP_SYS(copy_file_range), SCMP_SYS(lseek), SCMP_SYS(fstatfs), SCMP_SYS(io_uring_enter),
	/* rings, and clients' memory */
	SCMP_SYS(memfd_create), SCMP_SYS(ftruncate), SCMP_SYS(mlock),
	/* workers, which wait for doorbells and send signals */
	SCMP_SYS(sendto), SCMP_SYS(membarrier), SCMP_SYS(sched_yield), SCMP_SYS(nanosleep),
	SCMP_SYS(clock_nanosleep), SCMP_SYS(getcpu), SCMP_SYS(sched_getaffinity),
	/* threads, as the C library starts them */
	SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(sigaltstack), SCMP_SYS(mremap)};

static const struct {
	int call;
	unsigned argument; /* the number of one, and */
	uint64_t value;    /* what it has to be */
} calls_with[] = {
	{SCMP_SYS(fcntl), 1, F_SETFD},         {SCMP_SYS(fcntl), 1, F_GET_SEALS},
	{SCMP_SYS(fcntl), 1, F_ADD_SEALS},     {SCMP_SYS(fcntl), 1, F_DUPFD_CLOEXEC},
	{SCMP_SYS(ioctl), 1, UFFDIO_REGISTER}, {SCMP_SYS(socketpair), 0, AF_UNIX},
	{SCMP_SYS(setsockopt), 2, SO_SNDBUF},  {SCMP_SYS(setsockopt), 2, SO_PASSRIGHTS},
	{SCMP_SYS(prctl), 0, PR_SET_NAME},
};

static int add_rules(scmp_filter_ctx filter)
{
	int result = 0;

	for (size_t i = 0; !result && i < sizeof calls_with / sizeof *calls_with; i++)
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls_with[i].call, 1,
					  SCMP_CMP64(calls_with[i].argument, SCMP_CMP_EQ,
						     calls_with[i].value));
	if (!result) /* memory, and memory files, that are not executable */
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
					  SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (!result)
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
					  SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (!result) /* threads, no processes */
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
					  SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	if (!result) /* its arguments lie in memory: the C library takes clone(2) instead */
		result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return result;
}

int filer_jail(void)
{
	static const struct jail jail = {RLIMIT_DATA, MOST_DATA, calls,
					 sizeof calls / sizeof *calls, add_rules};

	return jail_enter(&jail);
}
