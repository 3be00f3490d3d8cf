/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Waiting for futures. A runtime sleeps while all of its futures will wake it. It polls futures
 * that will not wake it now and then. Thread-safe: threads may share a runtime.
 */
#ifndef LIBVDM_RUNTIME_H
#define LIBVDM_RUNTIME_H

#include <stddef.h>

#include "future.h"

#ifdef __cplusplus
extern "C" {
#endif

struct runtime;

/* NULL when memory is short. */
struct runtime *runtime_new(void);
/* No thread may be waiting. NULL is allowed. */
void runtime_delete(struct runtime *runtime);

/*
 * Poll until complete. A future that is already complete is not polled. pthread_cancel(3) of the
 * calling thread takes effect when this returns.
 */
void runtime_wait(struct runtime *runtime, VDM_FUTURE *future);
/* Wait for `nfuts` futures at once. Every round polls first the futures that are asynchronous at
 * that time. */
void runtime_wait_multiple(struct runtime *runtime, VDM_FUTURE *futs[], size_t nfuts);

#ifdef __cplusplus
}
#endif
#endif
