/* SPDX-License-Identifier: BSD-3-Clause */
#include "guard.h"

#include <errno.h>
#include <stddef.h>

/* initial-exec: reading it in a signal handler must not allocate */
static _Thread_local struct guard *current __attribute__((tls_model("initial-exec")));

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	if (current && current->armed) {
		current->armed = 0;
		siglongjmp(current->back, 1); /* which unblocks the signal */
	}
	/* Not ours: returning repeats the access, now with the default action, which ends the
	 * process. */
	signal(number, SIG_DFL);
}

int guard_install(void)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

void guard_set(struct guard *guard)
{
	current = guard;
}
