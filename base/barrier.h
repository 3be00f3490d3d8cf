/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Asymmetric barriers: who goes to sleep, which is seldom, passes a barrier for those who publish, which is
 * often, as well (membarrier(2), MEMBARRIER_CMD_GLOBAL_EXPEDITED, Linux 4.16; the technique: Desnoyers et al.,
 * User-Level Implementations of Read-Copy Update, 2012). It reaches the processes that have registered, and
 * them only.
 */
#ifndef VDM_BASE_BARRIER_H
#define VDM_BASE_BARRIER_H

#include <stdbool.h>

/* Whether barrier_for_all() is one in other processes too. The same at every call. */
bool barrier_is_asymmetric(void);

/*
 * Have the barriers of others reach this process. Returns whether they do, so that the threads of this process
 * need a compiler barrier only. For a process and its future threads, not for its children.
 */
bool barrier_register(void);

/* A full barrier here, and in all threads of the processes that have registered. */
void barrier_for_all(void);

/* The same within one process. Whether it can be done, from now on; and doing it. */
bool barrier_register_own(void);
void barrier_for_own_threads(void);

#endif
