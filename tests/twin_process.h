/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For a test that plays a porter: the daemon opens what its process has, and kills it in the end.
 */
#ifndef TEST_TWIN_PROCESS_H
#define TEST_TWIN_PROCESS_H

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_FILES /* of <sched.h>, which some tests cannot include */
#define CLONE_FILES 0x00000400
#endif

/*
 * Start a process that has the descriptors of this one, and does nothing. Stores a descriptor of
 * its directory in proc(5), and a pidfd. Returns whether that has succeeded. Those that have been
 * killed are waited for by the next call.
 */
static inline bool twin_process_start(int fds[2])
{
	char path[32];
	pid_t child;

	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	child = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (child == 0) {
		syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		for (;;)
			syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
	}
	snprintf(path, sizeof path, "/proc/%d", (int)child);
	fds[0] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fds[1] = (int)syscall(SYS_pidfd_open, child, 0);
	return fds[0] >= 0 && fds[1] >= 0;
}

#endif
