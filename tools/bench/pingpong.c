/* SPDX-License-Identifier: BSD-3-Clause */
/* The limit of the machine: two processes bounce one cache line. And the limit of a ring: they
 * bounce two, of which each has one writer, so that neither can spoil what the other has
 * written. */
#include "bench.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct line {
	_Alignas(64) _Atomic uint32_t value;
};

/* Timed this many at once, so that reading the clock counts little; and the median of those, as the
 * latencies of operations are medians: a mean would be of preemptions on a busy machine. */
#define CHUNK 50

static void await(struct line *line, uint32_t value)
{
	/* Each side's acquire pairs with the other side's release. */
	while (atomic_load_explicit(&line->value, memory_order_acquire) != value)
		spin_pause();
}

static void answer(struct line *there, struct line *back, uint32_t rounds)
{
	for (uint32_t i = 0; i < rounds; i++) {
		await(there, 2 * i + 1);
		atomic_store_explicit(&back->value, 2 * i + 2, memory_order_release);
	}
}

static void call(struct line *there, struct line *back, uint64_t *samples, uint32_t chunks)
{
	uint64_t begin = now_ns();

	for (uint32_t i = 0; i < chunks * CHUNK; i++) {
		atomic_store_explicit(&there->value, 2 * i + 1, memory_order_release);
		await(back, 2 * i + 2);
		if (i % CHUNK == CHUNK - 1) {
			uint64_t end = now_ns();

			samples[i / CHUNK] = end - begin;
			begin = end;
		}
	}
}

static void measure(struct bench *bench, const char *key, size_t lines)
{
	uint32_t chunks = bench->quick ? 20000 : 100000;
	uint64_t *samples = malloc(chunks * sizeof *samples);
	struct line *line =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (!samples || line == MAP_FAILED)
		bench_fail("pingpong", "out of memory");
	pid_t child = fork();

	if (child < 0)
		bench_fail("pingpong", "no process could be started");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin_to_cpu(bench->worker_cpu);
		answer(line, line + lines - 1, chunks * CHUNK);
		_exit(0);
	}
	call(line, line + lines - 1, samples, chunks);
	waitpid(child, NULL, 0);
	munmap(line, 4096);
	sort_samples(samples, chunks);
	json_value(key, (double)percentile(samples, chunks, 500) / CHUNK);
	free(samples);
}

void measure_pingpong(struct bench *bench)
{
	measure(bench, "pingpong_rtt_ns", 1);
	/* not neighbours, which may be fetched together */
	measure(bench, "pingpong_two_lines_rtt_ns", 3);
}
