/* SPDX-License-Identifier: BSD-3-Clause */
#include "write_back.h"

#include <stdint.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <pthread.h>

#define LINE 64

/* Intel SDM vol. 2, CPUID: leaf 7, EBX */
#define HAS_CLFLUSHOPT (1u << 23)
#define HAS_CLWB       (1u << 24)

/* CLWB keeps the line, CLFLUSHOPT drops it, and CLFLUSH, which every x86-64 has, waits for each one
 * besides. */
__attribute__((target("clwb"))) static void each_clwb(char *line, const char *end)
{
	for (; line < end; line += LINE)
		_mm_clwb(line);
}

__attribute__((target("clflushopt"))) static void each_clflushopt(char *line, const char *end)
{
	for (; line < end; line += LINE)
		_mm_clflushopt(line);
}

static void each_clflush(char *line, const char *end)
{
	for (; line < end; line += LINE)
		_mm_clflush(line);
}

static void (*each)(char *line, const char *end);
static pthread_once_t chosen = PTHREAD_ONCE_INIT;

static void choose(void)
{
	unsigned eax, ebx = 0, ecx, edx;

	if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
		ebx = 0;
	each = ebx & HAS_CLWB ? each_clwb : ebx & HAS_CLFLUSHOPT ? each_clflushopt : each_clflush;
}

bool can_write_back(void)
{
	return true;
}

void write_back(const void *address, size_t n)
{
	char *begin = (char *)((uintptr_t)address & ~(uintptr_t)(LINE - 1));

	pthread_once(&chosen, choose);
	if (n > 0)
		each(begin, (const char *)address + n);
	_mm_sfence();
}
#elif defined(__aarch64__)
bool can_write_back(void)
{
	return true;
}

void write_back(const void *address, size_t n)
{
	uint64_t type;

	/* Arm ARM, CTR_EL0: DminLine is the logarithm of the smallest line's words of 4 bytes */
	__asm__("mrs %0, ctr_el0" : "=r"(type));

	const size_t size = (size_t)4 << ((type >> 16) & 15);
	const char *end = (const char *)address + n;

	for (uintptr_t line = (uintptr_t)address & ~(uintptr_t)(size - 1);
	     n > 0 && line < (uintptr_t)end; line += size)
		__asm__ volatile("dc cvac, %0" ::"r"(line) : "memory");
	__asm__ volatile("dsb ish" ::: "memory");
}
#else
bool can_write_back(void)
{
	return false;
}

void write_back(const void *address, size_t n)
{
	(void)address;
	(void)n;
}
#endif
