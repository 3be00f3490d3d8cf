/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads that work beside the event loop. */
#ifndef VDM_DAEMON_DETACHED_THREAD_H
#define VDM_DAEMON_DETACHED_THREAD_H

/*
 * Start a detached thread that takes no signals: those are the event loop's. Returns 0 or a
 * negative errno.
 */
int detached_thread_start(void *(*main)(void *argument), void *argument);

#endif
