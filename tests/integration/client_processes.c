/* SPDX-License-Identifier: BSD-3-Clause */
#include "client_processes.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "scale.h"

/* Longer than any test lasts. */
#define CLIENT_SECONDS (180 + (unsigned)scaled(100))

void *shared_between_processes(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED, "%s", strerror(errno));
	return memory;
}

pid_t client_process(void (*body)(unsigned index, void *argument), unsigned index, void *argument)
{
	pid_t test = getpid();
	pid_t child = fork();

	CHECK(child >= 0, "fork: %s", strerror(errno));
	if (child > 0)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != test)
		_exit(1);
	guard_against_hanging(CLIENT_SECONDS);
	body(index, argument);
	_exit(0);
}

void client_joined(pid_t pid)
{
	int status = 0;

	CHECK(waitpid(pid, &status, 0) == pid, "%s", strerror(errno));
	CHECK(status == 0, "client %d ended with status 0x%x", (int)pid, (unsigned)status);
}
