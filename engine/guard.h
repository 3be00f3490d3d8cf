/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Surviving SIGBUS. A page of client memory may be missing (memory error, file system full, file
 * truncated). The kernel then sends SIGBUS to the thread that touched it; the operation has to
 * fail, not the process.
 *
 * A worker calls sigsetjmp() once, which saves its signal mask, and sets `armed` only while it
 * moves bytes.
 */
#ifndef VDM_ENGINE_GUARD_H
#define VDM_ENGINE_GUARD_H

#include <setjmp.h>
#include <signal.h>

struct guard {
	sigjmp_buf back;
	volatile sig_atomic_t armed;
};

/* Install the process's SIGBUS handler, once. A fault outside of an armed guard kills the process,
 * as without it. Returns 0 or a negative errno. */
int guard_install(void);

/* Set the calling thread's guard; NULL at its end. */
void guard_set(struct guard *guard);

#endif
