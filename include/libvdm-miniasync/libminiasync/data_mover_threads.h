/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads of this process, and the daemon for operations whose memory lies in regions of
 * vdm_client_default(), unless the program has set a function of its own. In all else these do what
 * the functions in libvdm/movers.h do that they replace.
 */
#ifndef LIBMINIASYNC_DATA_MOVER_THREADS_H
#define LIBMINIASYNC_DATA_MOVER_THREADS_H

#include "../../libvdm/movers.h"

#ifdef __cplusplus
extern "C" {
#endif

struct data_mover_threads *vdm_miniasync_threads_new(size_t nthreads, size_t ringbuf_size,
						     enum future_notifier_type desired_notifier);
struct data_mover_threads *vdm_miniasync_threads_default(void);

#ifdef __cplusplus
}
#endif

#define data_mover_threads_new     vdm_miniasync_threads_new
#define data_mover_threads_default vdm_miniasync_threads_default

#endif
