/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VDM_CLIENT_COARSE_CLOCK_H
#define VDM_CLIENT_COARSE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* ns, CLOCK_MONOTONIC_COARSE: with the resolution of a tick, and in a fifth of the time of
 * CLOCK_MONOTONIC. */
static inline int64_t coarse_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline int64_t coarse_ms(void)
{
	return coarse_ns() / 1000000;
}

#endif
