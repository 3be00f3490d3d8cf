/* SPDX-License-Identifier: BSD-3-Clause */
/* Many processes at once: the share of each, and whether a fully loaded machine copies slower with
 * a daemon. */
#include "crowd.h"

#include <unistd.h>

#define MEMORY ((size_t)64 << 20) /* sources; destinations are as much again */

void measure_clients(struct bench *bench)
{
	static const unsigned numbers[] = {1, 4, 16, 64};
	struct crowd *crowd = crowd_open();
	struct job job = {.bench = bench,
			  .size = 65536,
			  .depth = 4,
			  .threshold = 1,
			  .ns = bench->quick ? 1000000000 : 4000000000};

	json_list("clients");
	for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		unsigned n = numbers[i];

		/* the same for all together, so that it is not the cache that is measured */
		job.set = MEMORY / n;
		crowd_run(&job, crowd, n);
		json_object(NULL);
		json_value("n", n);
		json_value("gbps", crowd_gbps(crowd, n));
		json_value("mops", crowd_mops(crowd, n));
		json_value("jain", crowd_jain(crowd, n));
		json_value("p99_ns", crowd_latency(crowd, n, 990));
		json_value("taken_back", crowd_taken_back(crowd, n));
		json_object_end();
	}
	json_list_end();
	crowd_close(crowd);
}

/* As many copying processes as there are CPUs, with default settings; the daemon's workers may run
 * on any CPU. */
void measure_saturated(struct bench *bench)
{
	enum { ROUNDS = 3 };
	struct crowd *crowd = crowd_open();
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned n = cpus > BENCH_MAX_PROCESSES ? BENCH_MAX_PROCESSES
		     : cpus < 1                 ? 1
						: (unsigned)cpus;
	struct job job = {.bench = bench,
			  .size = 1 << 20,
			  .set = 64 << 20,
			  .depth = 4,
			  .ns = bench->quick ? 500000000 : 2000000000};
	double inlined[ROUNDS], offloaded[ROUNDS], taken_back[ROUNDS];

	harness_unpin_daemon();
	for (unsigned i = 0; i < ROUNDS; i++) {
		job.way = INLINE;
		crowd_run(&job, crowd, n);
		inlined[i] = crowd_gbps(crowd, n);
		job.way = OFFLOADED;
		crowd_run(&job, crowd, n);
		offloaded[i] = crowd_gbps(crowd, n);
		taken_back[i] = crowd_taken_back(crowd, n);
	}
	json_object("saturated");
	json_value("inline_gbps", median(inlined, ROUNDS));
	json_value("vdm_gbps", median(offloaded, ROUNDS));
	json_value("taken_back", median(taken_back, ROUNDS));
	json_object_end();
	crowd_close(crowd);
}
