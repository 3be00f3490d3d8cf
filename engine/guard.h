/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Surviving SIGBUS. A page of client memory may turn out not to be there (memory error, file system full,
 * file cut short). The kernel then sends SIGBUS to the thread that touched it; the operation has to
 * fail, not the process.
 *
 * A worker marks where to return to once, with sigsetjmp() and its signal mask, and sets `armed` only while a kernel runs.
 */
#ifndef VDM_ENGINE_GUARD_H
#define VDM_ENGINE_GUARD_H

#include <setjmp.h>
#include <signal.h>

struct guard {
	sigjmp_buf back;
	volatile sig_atomic_t armed;
};

/* Install the process's SIGBUS handler, once. A fault elsewhere kills the process as before. Returns 0 or
 * a negative errno. */
int guard_install(void);

/* Let the handler know this thread's guard; NULL at the thread's end. */
void guard_set(struct guard *guard);

#endif
