/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copy kernels: the loops that move bytes, chosen at run time by CPU and size. The C library serves
 * what fits in cache; beyond that, or when the caller says that he will not read the destination
 * soon, stores go around the cache.
 */
#ifndef VDM_OP_KERNELS_H
#define VDM_OP_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

/* For `flags`: write around the cache whatever the size. Same bit as VDM_F_NO_CACHE_HINT. */
#define KERNEL_NO_CACHE (1u << 1)

/* What is stored around the cache need not be seen by others before what comes after: kernels_settle() is called in the
 * end, by the same thread. */
#define KERNEL_UNSETTLED (1u << 31)

/* Streaming is not worth its fences below this size in bytes, whatever the caller hints. */
#define KERNEL_STREAMING_MINIMUM 4096

struct kernels {
	/* As memcpy(3), memmove(3), memset(3). NULL members stand for the default. */
	void *(*copy)(void *dest, const void *src, size_t n, unsigned flags);
	void *(*move)(void *dest, const void *src, size_t n, unsigned flags);
	void *(*set)(void *dest, int c, size_t n, unsigned flags);
	/* Some are a program's: flags are what its operation says, and KERNEL_UNSETTLED is never one. */
	bool own;
};

/* The kernels for this CPU; the same at every call. Thread-safe. */
const struct kernels *kernels_default(void);

/* Have others see what calls with KERNEL_UNSETTLED have stored before they see anything that is stored afterwards. */
void kernels_settle(void);

/* Name of the streaming kernel in use, for logs and benchmarks: "avx512", "avx2", "sse2" or "libc". */
const char *kernels_streaming_name(void);

/* Size in bytes from which copies are streamed, derived from the size of the last-level cache. */
size_t kernels_streaming_threshold(void);

#endif
