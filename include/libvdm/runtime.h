/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Waiting for futures. A runtime sleeps while all that it waits for will wake it, and polls now and then what
 * will not. Thread-safe: threads may share one.
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
/* Nobody may be waiting. NULL is allowed. */
void runtime_delete(struct runtime *runtime);

/*
 * Poll until complete. What is complete already is left alone. pthread_cancel(3) of the calling thread takes effect
 * after the return.
 */
void runtime_wait(struct runtime *runtime, VDM_FUTURE *future);
/* The same for `nfuts` futures at once. In every round those that are asynchronous then are polled first. */
void runtime_wait_multiple(struct runtime *runtime, VDM_FUTURE *futs[], size_t nfuts);

#ifdef __cplusplus
}
#endif
#endif
