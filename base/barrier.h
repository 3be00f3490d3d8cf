/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Asymmetric barriers. Publishing is frequent, going to sleep is rare: so the thread that goes to
 * sleep passes the barrier for the publishing threads as well (membarrier(2),
 * MEMBARRIER_CMD_GLOBAL_EXPEDITED, Linux 4.16). It reaches only the processes that have registered.
 * The technique is that of Desnoyers et al., User-Level Implementations of Read-Copy Update, 2012.
 */
#ifndef VDM_BASE_BARRIER_H
#define VDM_BASE_BARRIER_H

#include <stdbool.h>

/* Whether barrier_for_all() reaches other processes. Constant. */
bool barrier_is_asymmetric(void);

/*
 * Register this process and its future threads, but not its children. Returns whether the barriers
 * of other processes reach it now: then its own threads need a compiler barrier only.
 */
bool barrier_register(void);

/* Pass a full barrier in this thread and in all threads of the registered processes. */
void barrier_for_all(void);

/*
 * Barriers within this process. Register it, and return whether barrier_for_own_threads() works
 * from now on; pass a full barrier in all of its threads.
 */
bool barrier_register_own(void);
void barrier_for_own_threads(void);

#endif
