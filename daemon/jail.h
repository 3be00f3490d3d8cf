/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Confining a process that its user may take over, as code of the user's may run in it then. What
 * porters and filers need alike is allowed here.
 */
#ifndef VDM_DAEMON_JAIL_H
#define VDM_DAEMON_JAIL_H

#include <seccomp.h>
#include <stddef.h>
#include <sys/resource.h>

struct jail {
	unsigned resource; /* what limits memory: RLIMIT_AS or RLIMIT_DATA of setrlimit(2) */
	rlim_t bytes;
	const int *calls; /* that are allowed, with any arguments */
	size_t call_count;
	int (*add_rules)(scmp_filter_ctx filter); /* for other calls; returns 0 or an error */
};

/*
 * From now on this process, with all of its threads, fails with EPERM in all calls but the allowed
 * ones. It leaves no core file, its standard streams are /dev/null, and the kernel ends it rather
 * than the daemon when memory is short. Returns 0 or a negative errno. With sanitizers, which use
 * more memory and calls, only the last is so.
 */
int jail_enter(const struct jail *jail);

#endif
