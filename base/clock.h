/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VDM_BASE_CLOCK_H
#define VDM_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* ns, CLOCK_MONOTONIC */
static inline uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

#endif
