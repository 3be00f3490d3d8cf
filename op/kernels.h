/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copy kernels: the loops that move bytes, chosen at run time by CPU and size. The C library serves
 * what fits in cache. Larger copies bypass the cache, and so do those whose caller says that it
 * will not read the destination soon.
 */
#ifndef VDM_OP_KERNELS_H
#define VDM_OP_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

/* For `flags`: bypass the cache whatever the size. It is the bit of VDM_F_NO_CACHE_HINT. */
#define KERNEL_NO_CACHE (1u << 1)

/* Stores that bypass the cache need not be ordered before later ones: the calling thread calls
 * kernels_settle() before it publishes anything. */
#define KERNEL_UNSETTLED (1u << 31)

/* Below this size in bytes, bypassing the cache costs more than it gains, whatever the caller
 * hints. */
#define KERNEL_STREAMING_MINIMUM 4096

struct kernels {
	/* As memcpy(3), memmove(3), memset(3). NULL members stand for the default. */
	void *(*copy)(void *dest, const void *src, size_t n, unsigned flags);
	void *(*move)(void *dest, const void *src, size_t n, unsigned flags);
	void *(*set)(void *dest, int c, size_t n, unsigned flags);
	/* Some are the program's own. They get the flags of their operation, and never
	 * KERNEL_UNSETTLED. */
	bool own;
};

/* The kernels for this CPU. Constant. Any thread. */
const struct kernels *kernels_default(void);

/* Order the stores of calls with KERNEL_UNSETTLED before all later stores of this thread. */
void kernels_settle(void);

/* Name of the streaming kernel in use, for logs and benchmarks: "avx512", "avx2", "sse2" or
 * "libc". */
const char *kernels_streaming_name(void);

/* Size in bytes from which copies are streamed, derived from the size of the last-level cache. */
size_t kernels_streaming_threshold(void);

#endif
