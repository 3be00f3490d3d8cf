/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long operations took, in memory that one process writes and the launcher reads. An operation
 * that has not ended yet counts for as long as it has lasted.
 */
#ifndef VDM_TESTS_BOUNDARY_SAMPLES_H
#define VDM_TESTS_BOUNDARY_SAMPLES_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define MOST_SAMPLES 200000

struct samples {
	_Atomic uint64_t began_ns; /* of the operation in progress; 0: there is none */
	_Atomic size_t count;
	float ms[MOST_SAMPLES];
};

struct summary {
	size_t count;
	double p50_ms, p99_ms, worst_ms;
};

uint64_t monotonic_now_ns(void);

void sample_begin(struct samples *samples);
void sample_end(struct samples *samples);

/* For how long the operation in progress has lasted; 0: there is none. */
double samples_unfinished_ms(struct samples *samples);

/* Of all that ended since there were `first` samples, and of the one in progress. */
struct summary samples_summary(struct samples *samples, size_t first);

#endif
