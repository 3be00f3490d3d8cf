/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Why memcpy(3) does not serve all sizes: glibc bypasses the cache only from about three quarters
 * of the shared cache *per thread* on, and then with 16- or 32-byte stores. An AMD EPYC of 2024
 * copies 256 MiB in one thread at 16-19 GB/s with glibc 2.36, and at 28 GB/s with 64-byte streaming
 * stores. Below the size of the cache, no function was found to be faster than the library's.
 */
#include "kernels.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* A copy is assumed to get no more of the last-level cache than this. It is also assumed where the
 * system does not tell the size of the cache. A virtual machine may tell the size of the host's
 * cache: on an Intel Xeon with 480 MiB, copies of half of MOST_CACHE_BYTES that bypass the cache
 * are as fast if they would fit into it, and 1.6 times as fast if not. */
#define MOST_CACHE_BYTES ((size_t)32 << 20)

static struct {
	const char *name;
	size_t threshold;
	bool far; /* prefetch PREFETCH_FAR ahead */
	/* n is a multiple of the line and dest is aligned to it. */
	void (*copy)(char *dest, const char *src, size_t n);
	void (*set)(char *dest, unsigned char c, size_t n);
} streaming;

static pthread_once_t chosen = PTHREAD_ONCE_INIT;

#define LINE 64

#if defined(__x86_64__)
/*
 * How far ahead of the copy the source is fetched, and where to. AMD's CPUs are best with eight
 * lines that leave the caches alone. Intel's are slow with those (a Xeon with AVX-512: 6 GB/s, 9.6
 * with none) and best with a page, to the second level (12 GB/s). Prefetching beyond the end does
 * no harm.
 */
#define PREFETCH_NEAR ((size_t)8 * LINE)
#define PREFETCH_FAR  ((size_t)4096)

static inline __attribute__((always_inline)) void prefetch(const char *src, bool far)
{
	if (far)
		_mm_prefetch(src + PREFETCH_FAR, _MM_HINT_T1);
	else
		_mm_prefetch(src + PREFETCH_NEAR, _MM_HINT_NTA);
}

__attribute__((target("avx512f"))) static void copy_avx512(char *dest, const char *src, size_t n)
{
	const bool far = streaming.far;

	for (size_t i = 0; i < n; i += LINE) {
		prefetch(src + i, far);
		_mm512_stream_si512((void *)(dest + i), _mm512_loadu_si512(src + i));
	}
}

__attribute__((target("avx512f"))) static void set_avx512(char *dest, unsigned char c, size_t n)
{
	__m512i fill = _mm512_set1_epi32((int)(c * 0x01010101u));

	for (size_t i = 0; i < n; i += LINE)
		_mm512_stream_si512((void *)(dest + i), fill);
}

__attribute__((target("avx2"))) static void copy_avx2(char *dest, const char *src, size_t n)
{
	const bool far = streaming.far;

	for (size_t i = 0; i < n; i += LINE) {
		prefetch(src + i, far);
		__m256i low = _mm256_loadu_si256((const void *)(src + i));
		__m256i high = _mm256_loadu_si256((const void *)(src + i + 32));

		_mm256_stream_si256((void *)(dest + i), low);
		_mm256_stream_si256((void *)(dest + i + 32), high);
	}
}

__attribute__((target("avx2"))) static void set_avx2(char *dest, unsigned char c, size_t n)
{
	__m256i fill = _mm256_set1_epi8((char)c);

	for (size_t i = 0; i < n; i += 32)
		_mm256_stream_si256((void *)(dest + i), fill);
}

static void copy_sse2(char *dest, const char *src, size_t n)
{
	const bool far = streaming.far;

	for (size_t i = 0; i < n; i += 16) {
		if (i % LINE == 0)
			prefetch(src + i, far);
		_mm_stream_si128((void *)(dest + i), _mm_loadu_si128((const void *)(src + i)));
	}
}

static void set_sse2(char *dest, unsigned char c, size_t n)
{
	__m128i fill = _mm_set1_epi8((char)c);

	for (size_t i = 0; i < n; i += 16)
		_mm_stream_si128((void *)(dest + i), fill);
}

/* Streaming stores are ordered with others by a fence only. */
static void settle(void)
{
	_mm_sfence();
}

static void choose_streaming(void)
{
	__builtin_cpu_init();
	streaming.far = __builtin_cpu_is("intel");
	if (__builtin_cpu_supports("avx512f")) {
		streaming.name = "avx512";
		streaming.copy = copy_avx512;
		streaming.set = set_avx512;
	} else if (__builtin_cpu_supports("avx2")) {
		streaming.name = "avx2";
		streaming.copy = copy_avx2;
		streaming.set = set_avx2;
	} else {
		streaming.name = "sse2";
		streaming.copy = copy_sse2;
		streaming.set = set_sse2;
	}
}
#else
static void settle(void)
{
}

static void choose_streaming(void)
{
	/* it serves all sizes: no streaming stores are known for this CPU */
	streaming.name = "libc";
}
#endif

/* Size of the CPU's last-level cache in bytes, or 0 if the kernel does not tell
 * (sysfs-devices-system-cpu in its ABI documentation). In a virtual machine, sysconf(3) may add up
 * the caches of the host. */
static size_t cache_bytes(void)
{
	size_t largest = 0;

	for (unsigned index = 0; index < 8; index++) {
		char path[64];
		unsigned long kib = 0;

		snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%u/size",
			 index);
		FILE *file = fopen(path, "re");

		if (!file)
			break;
		if (fscanf(file, "%luK", &kib) == 1 && kib > largest)
			largest = kib;
		fclose(file);
	}
	return largest << 10;
}

static void choose(void)
{
	size_t cache = cache_bytes();

	/* Source and destination together fill the cache at half its size. */
	streaming.threshold = (cache && cache < MOST_CACHE_BYTES ? cache : MOST_CACHE_BYTES) / 2;
	choose_streaming();
}

static bool streams(size_t n, unsigned flags)
{
	pthread_once(&chosen, choose);
	if (!streaming.copy)
		return false;
	return n >= streaming.threshold || (flags & KERNEL_NO_CACHE);
}

static size_t head_bytes(const char *dest)
{
	return -(uintptr_t)dest & (LINE - 1);
}

/* The large ones are functions of their own, so that small ones need not save registers for
 * them. */
static __attribute__((noinline)) void *copy_large(void *dest, const void *src, size_t n,
						  unsigned flags)
{
	if (!streams(n, flags))
		return memcpy(dest, src, n);

	char *d = dest;
	const char *s = src;
	size_t head = head_bytes(d);
	size_t body = (n - head) & ~(size_t)(LINE - 1);

	memcpy(d, s, head);
	streaming.copy(d + head, s + head, body);
	if (!(flags & KERNEL_UNSETTLED))
		settle();
	memcpy(d + head + body, s + head + body, n - head - body);
	return dest;
}

static void *copy_chosen(void *dest, const void *src, size_t n, unsigned flags)
{
	return n < KERNEL_STREAMING_MINIMUM ? memcpy(dest, src, n)
					    : copy_large(dest, src, n, flags);
}

static void *move_chosen(void *dest, const void *src, size_t n, unsigned flags)
{
	uintptr_t distance = (uintptr_t)dest - (uintptr_t)src;

	/* Ranges that do not touch each other are a copy; the subtraction may wrap, and is meant
	 * to. */
	if (distance >= n && -distance >= n)
		return copy_chosen(dest, src, n, flags);
	return memmove(dest, src, n);
}

static __attribute__((noinline)) void *set_large(void *dest, int c, size_t n, unsigned flags)
{
	if (!streams(n, flags))
		return memset(dest, c, n);

	char *d = dest;
	size_t head = head_bytes(d);
	size_t body = (n - head) & ~(size_t)(LINE - 1);

	memset(d, c, head);
	streaming.set(d + head, (unsigned char)c, body);
	if (!(flags & KERNEL_UNSETTLED))
		settle();
	memset(d + head + body, c, n - head - body);
	return dest;
}

static void *set_chosen(void *dest, int c, size_t n, unsigned flags)
{
	return n < KERNEL_STREAMING_MINIMUM ? memset(dest, c, n) : set_large(dest, c, n, flags);
}

void kernels_settle(void)
{
	settle();
}

const struct kernels *kernels_default(void)
{
	static const struct kernels kernels = {copy_chosen, move_chosen, set_chosen};

	return &kernels;
}

const char *kernels_streaming_name(void)
{
	pthread_once(&chosen, choose);
	return streaming.name;
}

size_t kernels_streaming_threshold(void)
{
	pthread_once(&chosen, choose);
	return streaming.threshold;
}
