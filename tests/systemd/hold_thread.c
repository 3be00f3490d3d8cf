/* SPDX-License-Identifier: BSD-3-Clause */
/* hold_thread TID: stop one thread of a process, and no other, until it or this program is
 * killed. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
	pid_t tid = argc == 2 ? (pid_t)strtol(argv[1], NULL, 10) : 0;
	int status;

	if (tid <= 0 || ptrace(PTRACE_SEIZE, tid, NULL, NULL) < 0 ||
	    ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0 || waitpid(tid, &status, __WALL) != tid) {
		perror("hold_thread");
		return 1;
	}
	puts("held");
	fflush(stdout);
	/* wait for its death, or the whole process would not end (ptrace(2)) */
	while (waitpid(tid, &status, __WALL) == tid && !WIFEXITED(status) && !WIFSIGNALED(status))
		;
	return 0;
}
