/* SPDX-License-Identifier: BSD-3-Clause */
#include "jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel ends such processes rather than the daemon when memory is short, proc(5). */
#define OOM_SCORE_ADJ "500"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
	__has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif

static const int common[] = {
	/* the sockets of clients and of the daemon, and what clients pass */
	SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(close), SCMP_SYS(shutdown),
	SCMP_SYS(getsockopt),
	/* the event loop, which has its descriptors already */
	SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2),
	SCMP_SYS(timerfd_settime), SCMP_SYS(read), SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday),
	SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getrandom), SCMP_SYS(restart_syscall),
	SCMP_SYS(poll), SCMP_SYS(ppoll),
	/* memory */
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(madvise), SCMP_SYS(futex),
	/* messages to stderr, and the end */
	SCMP_SYS(write), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(exit),
	SCMP_SYS(exit_group), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigaction)};

/*
 * Calls whose second argument has to be a certain one: with another, ioctl(2) and fcntl(2) have the
 * kernel signal a process of the same user, or put locks on files of others.
 */
static const struct {
	int call;
	unsigned argument;
} common_with[] = {
	{SCMP_SYS(ioctl), SIOCOUTQ},
	{SCMP_SYS(fcntl), F_GETFD},
	{SCMP_SYS(fcntl), F_GETFL},
};

static int allow(scmp_filter_ctx filter, const int *calls, size_t count)
{
	int result = 0;

	for (size_t i = 0; !result && i < count; i++)
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	return result;
}

static int add_rules(scmp_filter_ctx filter, const struct jail *jail)
{
	int result = allow(filter, common, sizeof common / sizeof *common);

	if (!result)
		result = allow(filter, jail->calls, jail->call_count);
	for (size_t i = 0; !result && i < sizeof common_with / sizeof *common_with; i++)
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, common_with[i].call, 1,
					  SCMP_A1(SCMP_CMP_EQ, common_with[i].argument));
	if (!result) /* so that messages without bytes are told from the end, drain.c */
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 1,
					  SCMP_A2(SCMP_CMP_EQ, SO_PASSCRED));
	if (!result) /* abort(3) */
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
					  SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
	return result ? result : jail->add_rules(filter);
}

static int filter_calls(const struct jail *jail)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int result = filter ? seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1) : -ENOMEM;

	if (!result)
		result = add_rules(filter, jail);
	if (!result)
		result = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	return result;
}

/* A preference, which may be refused. */
static void prefer_to_be_killed(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, OOM_SCORE_ADJ, strlen(OOM_SCORE_ADJ)) < 0) {
		/* it stays as it is */
	}
	close(fd);
}

/* The standard streams are those of the daemon and of all its processes. */
static int leave_streams(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), result = 0;

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && null >= 0; fd++)
		if (dup2(null, fd) < 0)
			result = -errno;
	if (null > STDERR_FILENO)
		close(null);
	return null < 0 ? -ENOENT : result;
}

int jail_enter(const struct jail *jail)
{
	const struct rlimit memory = {jail->bytes, jail->bytes}, none = {0, 0};

	prefer_to_be_killed();
#ifdef SANITIZED
	(void)memory;
	(void)none;
	(void)filter_calls;
	(void)leave_streams;
	return 0;
#else
	if (setrlimit(jail->resource, &memory) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
		return -errno;

	int result = leave_streams();

	return result ? result : filter_calls(jail);
#endif
}
