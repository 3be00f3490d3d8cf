/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Three movers behind one interface: in the daemon, in threads of this process, and in the calling
 * thread.
 *
 * Thread-safety: any thread may create and poll futures of a mover at any time. The futures of a
 * mover must be complete or given up before it is deleted, and none of them may be polled
 * meanwhile. Deleting a mover waits for the operations in flight and calls their wakers. A waker
 * may delete its mover. pthread_cancel(3) of a thread that makes or deletes a mover, or polls an
 * operation, takes effect when the call returns. Functions that return a mover return NULL on
 * failure, with a sentence in vdm_last_error(). In a forked child the operations of the parent's
 * movers complete with VDM_ERROR_JOB_CORRUPTED. Deleting those movers there frees memory.
 */
#ifndef LIBVDM_MOVERS_H
#define LIBVDM_MOVERS_H

#include <stddef.h>

#include "vdm.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Through vdmd. Any memory may be used. The thread that starts an operation carries it out itself
 * if its memory is not in a region, it is smaller than the offload threshold, or there is no
 * daemon. After the daemon's death the operations in flight complete with VDM_ERROR_JOB_CORRUPTED,
 * and later ones run in this process until there is another daemon. An operation that is started
 * within 20 ms of the death may count as in flight.
 */
struct data_mover_daemon;
struct vdm_client;
struct vdm_options;

/* With a connection of its own; options may be NULL. VDM_OPTION_NOTIFY_* choose the notifier. */
struct data_mover_daemon *data_mover_daemon_new(const struct vdm_options *options);
/* On vdm_client_default(), so that its regions are offloaded. */
struct data_mover_daemon *data_mover_daemon_default(void);
struct vdm *data_mover_daemon_get_vdm(struct data_mover_daemon *mover);
/* The connection, for regions and counters; it lives as long as the mover. */
struct vdm_client *data_mover_daemon_get_client(struct data_mover_daemon *mover);
void data_mover_daemon_delete(struct data_mover_daemon *mover);

/* In threads of this process. */
struct data_mover_threads;

typedef void *(*memcpy_fn)(void *dest, const void *src, size_t n, unsigned flags);
typedef void *(*memmove_fn)(void *dest, const void *src, size_t n, unsigned flags);
typedef void *(*memset_fn)(void *str, int c, size_t n, unsigned flags);

/*
 * `nthreads` threads (1 to 256), and room for `ringbuf_size` operations in flight (at least 1;
 * rounded up to a power of two, and at most 4096).
 */
struct data_mover_threads *data_mover_threads_new(size_t nthreads, size_t ringbuf_size,
						  enum future_notifier_type notifier);
/* Half the CPUs, 128 operations, wakers. */
struct data_mover_threads *data_mover_threads_default(void);
struct vdm *data_mover_threads_get_vdm(struct data_mover_threads *mover);
/* Replace the functions of operations that start from now on. NULL: the library's own. `flags` are
 * VDM_F_*. */
void data_mover_threads_set_memcpy_fn(struct data_mover_threads *mover, memcpy_fn function);
void data_mover_threads_set_memmove_fn(struct data_mover_threads *mover, memmove_fn function);
void data_mover_threads_set_memset_fn(struct data_mover_threads *mover, memset_fn function);
void data_mover_threads_delete(struct data_mover_threads *mover);

/* Carries an operation out at once, in the thread that polls it. */
struct data_mover_sync;

struct data_mover_sync *data_mover_sync_new(void);
struct vdm *data_mover_sync_get_vdm(struct data_mover_sync *mover);
void data_mover_sync_delete(struct data_mover_sync *mover);

#ifdef __cplusplus
}
#endif
#endif
