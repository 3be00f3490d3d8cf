/* SPDX-License-Identifier: BSD-3-Clause */
/* What the measurements share: the setting they run in, the clock, and their results. */
#ifndef VDM_BENCH_H
#define VDM_BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <libvdm.h>

/* Where client and worker run. On one CPU both are the same. */
struct bench {
	int quick; /* shorter runs */
	int client_cpu, worker_cpu;
	unsigned workers; /* of the daemon */
	struct vdm_client *client;
	const char *socket; /* of the daemon */
};

/* Print what went wrong with vdm_last_error() or errno text, stop a private daemon, and exit with
 * 1. */
_Noreturn void bench_fail(const char *what, const char *why);

/* timing.c */
uint64_t now_ns(void); /* CLOCK_MONOTONIC */
/* Between two looks at a word that another CPU writes. Without it the looks disturb the writer: a
 * bounced line then takes twice as long. */
static inline void spin_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}
/* Time since now_ns() was `begin`, without the cost of reading the clock (25 ns, which may be as
 * long as what is timed). */
uint64_t since_ns(uint64_t begin);
void pin_to_cpu(int cpu); /* the calling thread; a CPU that is not there is ignored */
void sort_samples(uint64_t *samples, size_t count);
/* Of sorted samples; `per_mille` 500 is the median. */
uint64_t percentile(const uint64_t *samples, size_t count, unsigned per_mille);
double median(double *values, size_t count); /* sorts them */

/* harness.c: a private daemon beside this program, or the one at `socket`. */
void harness_start(struct bench *bench, const char *socket);
void harness_stop(struct bench *bench);
/* Let the threads of a private daemon run on every CPU. */
void harness_unpin_daemon(void);

/* pool.c: a conventional worker pool inside a process: mutex, condition variable, completion
 * flag. */
struct pool;
struct pool_job {
	void *dest;
	const void *src;
	size_t length;
	_Atomic int done;
	struct pool_job *next;
};
struct pool *pool_start(unsigned threads, int first_cpu);
void pool_submit(struct pool *pool, struct pool_job *job);
void pool_wait(struct pool_job *job);
void pool_stop(struct pool *pool);

/* json.c: results as one object on standard output, or as a table. */
void json_begin(int as_json);
void json_end(void);
void json_value(const char *key, double value);
void json_object(const char *key); /* NULL within a list */
void json_object_end(void);
void json_list(const char *key);
void json_list_end(void);

/* sweep.c: the command `sweep`, with its own arguments. Returns the exit status. */
int sweep_main(struct bench *bench, int argc, char **argv);
void sweep_help(void);

/* file.c: the command `file`, likewise. */
int file_main(struct bench *bench, int argc, char **argv);
void file_help(void);

/* The measurements. */
void measure_pingpong(struct bench *bench);
void measure_latency(struct bench *bench);
void measure_rate(struct bench *bench);
void measure_submit(struct bench *bench);
void measure_bandwidth(struct bench *bench);
void measure_overlap(struct bench *bench);
void measure_breakeven(struct bench *bench);
void measure_clients(struct bench *bench);
void measure_saturated(struct bench *bench);
void measure_idle(struct bench *bench);
/* CPU seconds that the daemon has used, all threads. */
double daemon_cpu_s(struct bench *bench);
void measure_wake(struct bench *bench);
void measure_future(struct bench *bench);
void measure_mover(struct bench *bench);
/* ns in the submitting thread for each operation of a batch of futures; for measure_submit() */
double future_submit_ns(struct bench *bench, unsigned batches);

#endif
