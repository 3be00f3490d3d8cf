/* SPDX-License-Identifier: BSD-3-Clause */
/* Instructions that C has no words for. */
#ifndef VDM_BASE_CPU_H
#define VDM_BASE_CPU_H

/* Between two looks at a word that another CPU writes: the looks disturb the writer. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory"); /* "yield" is a no-op on most cores */
#endif
}

#endif
