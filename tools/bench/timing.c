/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t clock_cost_ns(void)
{
	static uint64_t cost;
	enum { READINGS = 10000 };

	if (cost == 0) {
		uint64_t begin = now_ns();

		for (int i = 0; i < READINGS; i++)
			now_ns();
		cost = (now_ns() - begin) / READINGS;
	}
	return cost;
}

uint64_t since_ns(uint64_t begin)
{
	uint64_t elapsed = now_ns() - begin, cost = clock_cost_ns();

	return elapsed > cost ? elapsed - cost : 0;
}

void pin_to_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	/* A refusal costs steadiness, not correctness. */
	(void)sched_setaffinity(0, sizeof set, &set);
}

static int compare_samples(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

void sort_samples(uint64_t *samples, size_t count)
{
	qsort(samples, count, sizeof *samples, compare_samples);
}

uint64_t percentile(const uint64_t *samples, size_t count, unsigned per_mille)
{
	size_t index = count * per_mille / 1000;

	return samples[index < count ? index : count - 1];
}

static int compare_values(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

double median(double *values, size_t count)
{
	qsort(values, count, sizeof *values, compare_values);
	return values[count / 2];
}
