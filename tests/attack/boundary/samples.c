/* SPDX-License-Identifier: BSD-3-Clause */
#include "samples.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t monotonic_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void sample_begin(struct samples *samples)
{
	/* relaxed; partner: samples_unfinished_ms(), which only reads the clock */
	atomic_store_explicit(&samples->began_ns, monotonic_now_ns(), memory_order_relaxed);
}

void sample_end(struct samples *samples)
{
	uint64_t now = monotonic_now_ns();
	/* relaxed: this process alone writes both */
	uint64_t began = atomic_load_explicit(&samples->began_ns, memory_order_relaxed);
	size_t count = atomic_load_explicit(&samples->count, memory_order_relaxed);

	if (count < MOST_SAMPLES) {
		samples->ms[count] = (float)(now - began) / 1e6f;
		/* release; partner: samples_summary(), acquire */
		atomic_store_explicit(&samples->count, count + 1, memory_order_release);
	}
	/* relaxed; partner: samples_unfinished_ms() */
	atomic_store_explicit(&samples->began_ns, 0, memory_order_relaxed);
}

double samples_unfinished_ms(struct samples *samples)
{
	/* relaxed; partner: sample_begin() */
	uint64_t began = atomic_load_explicit(&samples->began_ns, memory_order_relaxed);
	uint64_t now = monotonic_now_ns();

	return began && now > began ? (double)(now - began) / 1e6 : 0;
}

static int ascending(const void *a, const void *b)
{
	const float left = *(const float *)a, right = *(const float *)b;

	return (left > right) - (left < right);
}

struct summary samples_summary(struct samples *samples, size_t first)
{
	float unfinished = (float)samples_unfinished_ms(samples);
	/* acquire; partner: sample_end(), release */
	size_t end = atomic_load_explicit(&samples->count, memory_order_acquire);
	size_t count = end - first;
	float *sorted = malloc((count + 1) * sizeof *sorted);
	struct summary summary = {0};

	if (!sorted)
		abort();
	memcpy(sorted, samples->ms + first, count * sizeof *sorted);
	if (unfinished > 0)
		sorted[count++] = unfinished;
	if (count > 0) {
		qsort(sorted, count, sizeof *sorted, ascending);
		summary = (struct summary){.count = count,
					   .p50_ms = (double)sorted[count / 2],
					   .p99_ms = (double)sorted[count * 99 / 100],
					   .worst_ms = (double)sorted[count - 1]};
	}
	free(sorted);
	return summary;
}
