/* SPDX-License-Identifier: BSD-3-Clause */
/* Client processes that copy at the same time, each with a connection, a ring and memory of its
 * own. */
#ifndef VDM_BENCH_CROWD_H
#define VDM_BENCH_CROWD_H

#include <stdatomic.h>

#include "bench.h"

#define BENCH_MAX_PROCESSES 64
#define BENCH_MAX_DEPTH     4096
#define BENCH_SAMPLES       20000 /* of latency that each process keeps */

enum way { OFFLOADED, INLINE };
enum wait_mode { WAIT_SPIN, WAIT_SLEEP, WAIT_PEEK, WAIT_POLL };

struct job {
	struct bench *bench;
	size_t size, set; /* of a copy; of the memory that a process goes through, each side */
	unsigned depth;   /* copies in flight */
	enum way way;
	enum wait_mode wait;
	int verify;
	int pinned;       /* stay where this process is */
	size_t threshold; /* 0: the default */
	uint64_t ns;      /* how long */
};

struct result {
	uint64_t bytes, operations;
	double taken_back; /* share of its operations that it did itself while it waited */
	double cpu_s;      /* that it used */
	uint64_t samples;
	uint64_t latency[BENCH_SAMPLES];
};

struct crowd {
	_Atomic unsigned ready;
	_Atomic uint64_t began; /* ns, the same for all of them; 0: not yet */
	uint64_t ns;            /* for so long */
	struct result result[BENCH_MAX_PROCESSES];
};

struct crowd *crowd_open(void);
void crowd_close(struct crowd *crowd);

/* Have `n` processes do the job; results are in crowd->result. Fails the program if one of them
 * fails. */
void crowd_run(const struct job *job, struct crowd *crowd, unsigned n);

/* Of all together. */
double crowd_gbps(const struct crowd *crowd, unsigned n);
double crowd_mops(const struct crowd *crowd, unsigned n);
double crowd_jain(const struct crowd *crowd, unsigned n);
double crowd_taken_back(const struct crowd *crowd, unsigned n); /* mean share */
double crowd_latency(const struct crowd *crowd, unsigned n, unsigned per_mille);

#endif
