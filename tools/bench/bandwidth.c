/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Large copies, warm (the same two buffers each time) and cold (walking through a working set that
 * no cache holds): memcpy in this thread, the best raw copy loop on as many threads as the daemon
 * has workers, and the daemon, in turns.
 */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#define ROUNDS      3
#define MEMORY      ((size_t)512 << 20) /* twice the largest copy, and far beyond caches */
#define MAX_WORKERS 64

enum loop { LOOP_MEMCPY, LOOP_REP, LOOP_STREAM, LOOPS };

static void copy_with(enum loop loop, char *dest, const char *src, size_t n)
{
#if defined(__x86_64__)
	if (loop == LOOP_REP) {
		__asm__ volatile("rep movsb" : "+D"(dest), "+S"(src), "+c"(n) : : "memory");
		return;
	}
	if (loop == LOOP_STREAM) {
		for (size_t i = 0; i < n; i += 16)
			_mm_stream_si128((__m128i *)(dest + i),
					 _mm_load_si128((const __m128i *)(src + i)));
		_mm_sfence();
		return;
	}
#endif
	(void)loop;
	memcpy(dest, src, n);
}

struct run {
	char *memory;
	size_t size, set; /* of one copy; of all memory gone through, both sides */
	unsigned copies;
};

/* The place of copy i: sources in the lower half of the set, destinations in the upper. */
static size_t place(const struct run *run, unsigned i)
{
	return i % (run->set / 2 / run->size) * run->size;
}

struct share {
	const struct run *run;
	enum loop loop;
	size_t begin, length; /* of each copy */
	int cpu;
};

static void *copy_share(void *argument)
{
	const struct share *share = argument;

	if (share->cpu >= 0)
		pin_to_cpu(share->cpu);
	for (unsigned i = 0; i < share->run->copies; i++) {
		char *src = share->run->memory + place(share->run, i) + share->begin;

		copy_with(share->loop, src + share->run->set / 2, src, share->length);
	}
	return NULL;
}

static double gbps(const struct run *run, uint64_t begin)
{
	return (double)run->size * run->copies / (double)(now_ns() - begin);
}

static double loop_gbps(struct bench *bench, const struct run *run, enum loop loop)
{
	struct share shares[MAX_WORKERS];
	pthread_t threads[MAX_WORKERS];
	unsigned count = bench->workers < MAX_WORKERS ? bench->workers : MAX_WORKERS;
	uint64_t begin = now_ns();

	for (unsigned i = 0; i < count; i++) {
		shares[i] = (struct share){run, loop, run->size / count / 64 * 64 * i, 0,
					   count == 1 ? bench->worker_cpu : -1};
		shares[i].length =
			i + 1 < count ? run->size / count / 64 * 64 : run->size - shares[i].begin;
		if (pthread_create(&threads[i], NULL, copy_share, &shares[i]))
			bench_fail("bandwidth", "no thread could be started");
	}
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	return gbps(run, begin);
}

static double inline_gbps(const struct run *run)
{
	struct share all = {run, LOOP_MEMCPY, 0, run->size, -1};
	uint64_t begin = now_ns();

	copy_share(&all);
	return gbps(run, begin);
}

static double ring_gbps(struct vdm_ring *ring, const struct run *run)
{
	const unsigned depth = 4;
	uint64_t begin = now_ns();
	unsigned submitted = 0, done = 0;

	while (done < run->copies) {
		struct vdm_cqe *cqe;

		while (submitted < run->copies && submitted - done < depth) {
			char *src = run->memory + place(run, submitted);

			vdm_prep_memcpy(vdm_ring_get_sqe(ring), src + run->set / 2, src, run->size,
					0);
			vdm_ring_submit(ring);
			submitted++;
		}
		/* peek: a wait might take operations back, and the daemon is to be measured */
		while (vdm_ring_peek_cqe(ring, &cqe) == -EAGAIN)
			spin_pause();
		if (cqe->result)
			bench_fail("bandwidth", "an operation failed");
		vdm_ring_cqe_seen(ring, cqe);
		done++;
	}
	return gbps(run, begin);
}

static void measure_run(struct bench *bench, struct vdm_ring *ring, const struct run *run)
{
	double plain[ROUNDS], vdm[ROUNDS], kernel[LOOPS][ROUNDS], best = 0;

	for (int i = 0; i < ROUNDS; i++) {
		plain[i] = inline_gbps(run);
		vdm[i] = ring_gbps(ring, run);
		for (enum loop loop = 0; loop < LOOPS; loop++)
			kernel[loop][i] = loop_gbps(bench, run, loop);
	}
	for (int loop = 0; loop < LOOPS; loop++) {
		double value = median(kernel[loop], ROUNDS);

		best = value > best ? value : best;
	}
	json_object(NULL);
	json_value("size", (double)run->size);
	json_value("working_set", (double)run->set);
	json_value("memcpy_gbps", median(plain, ROUNDS));
	json_value("kernel_gbps", best);
	json_value("vdm_gbps", median(vdm, ROUNDS));
	json_value("workers", bench->workers);
	json_object_end();
}

void measure_bandwidth(struct bench *bench)
{
	struct vdm_region *region;
	struct vdm_ring *ring;

	if (vdm_region_alloc(bench->client, MEMORY, &region) ||
	    vdm_ring_open(bench->client, NULL, &ring))
		bench_fail("bandwidth", vdm_last_error());
	/* the first touch of memory counts for none of them */
	const struct run touch = {vdm_region_address(region), 1 << 20, MEMORY, MEMORY / 2 >> 20};

	inline_gbps(&touch);
	ring_gbps(ring, &touch);
	json_list("bandwidth");
	for (size_t size = 65536; size <= MEMORY / 2; size *= 4) {
		struct run run = {vdm_region_address(region), size, 2 * size, 0};
		size_t total = MEMORY * (bench->quick ? 1 : 4);

		run.copies = (unsigned)(total / size);
		measure_run(bench, ring, &run);
		run.set = MEMORY;
		if (size < MEMORY / 2)
			measure_run(bench, ring, &run);
	}
	json_list_end();
	vdm_ring_close(ring);
	vdm_region_release(region);
}
