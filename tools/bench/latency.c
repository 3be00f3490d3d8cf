/* SPDX-License-Identifier: BSD-3-Clause */
/* One operation at a time, both sides awake: the ring, a pool and plain memcpy take turns. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define ROUNDS        5
#define INLINE_CHUNKS 100

struct series {
	uint64_t *ns;
	size_t count;
};

static void ring_samples(struct vdm_ring *ring, char *dest, const char *src, size_t size,
			 struct series *series, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct vdm_cqe *cqe;
		uint64_t begin = now_ns();

		vdm_prep_memcpy(vdm_ring_get_sqe(ring), dest, src, size, 0);
		vdm_ring_submit(ring);
		if (vdm_ring_wait_cqe(ring, &cqe) || cqe->result)
			bench_fail("latency", "an operation failed");
		vdm_ring_cqe_seen(ring, cqe);
		series->ns[series->count++] = since_ns(begin);
	}
}

static void pool_samples(struct pool *pool, char *dest, const char *src, size_t size,
			 struct series *series, size_t count)
{
	struct pool_job job = {.dest = dest, .src = src, .length = size};

	for (size_t i = 0; i < count; i++) {
		uint64_t begin = now_ns();

		pool_submit(pool, &job);
		pool_wait(&job);
		series->ns[series->count++] = since_ns(begin);
	}
}

/* The median, as for the others. A single small copy is shorter than reading the clock, so it is
 * the median of chunks. */
static double inline_ns(char *dest, const char *src, size_t size, size_t count)
{
	double chunks[INLINE_CHUNKS];
	size_t length = count / INLINE_CHUNKS;

	for (size_t chunk = 0; chunk < INLINE_CHUNKS; chunk++) {
		uint64_t begin = now_ns();

		for (size_t i = 0; i < length; i++) {
			memcpy(dest, src, size);
			/* the copy is needed */
			__asm__ volatile("" : : "r"(dest), "r"(src) : "memory");
		}
		chunks[chunk] = (double)(now_ns() - begin) / (double)length;
	}
	return median(chunks, INLINE_CHUNKS);
}

static void measure_size(struct bench *bench, struct vdm_ring *ring, char *memory, size_t size)
{
	size_t count = size <= 4096 ? 20000 : size <= 65536 ? 4000 : 400;

	if (!bench->quick)
		count *= 5;
	struct series vdm = {malloc(count * ROUNDS * sizeof(uint64_t)), 0};
	struct series pool = {malloc(count * ROUNDS * sizeof(uint64_t)), 0};
	double plain[ROUNDS];

	if (!vdm.ns || !pool.ns)
		bench_fail("latency", "out of memory");
	for (int i = 0; i < ROUNDS; i++) {
		struct pool *threads;

		ring_samples(ring, memory + size, memory, size, &vdm, count);
		threads = pool_start(1, bench->worker_cpu);
		pool_samples(threads, memory + size, memory, size, &pool, count);
		pool_stop(threads);
		plain[i] = inline_ns(memory + size, memory, size, count);
	}
	sort_samples(vdm.ns, vdm.count);
	sort_samples(pool.ns, pool.count);
	json_object(NULL);
	json_value("size", (double)size);
	json_value("vdm_p50_ns", (double)percentile(vdm.ns, vdm.count, 500));
	json_value("vdm_p99_ns", (double)percentile(vdm.ns, vdm.count, 990));
	json_value("vdm_p999_ns", (double)percentile(vdm.ns, vdm.count, 999));
	json_value("pool_p50_ns", (double)percentile(pool.ns, pool.count, 500));
	json_value("pool_p99_ns", (double)percentile(pool.ns, pool.count, 990));
	json_value("inline_ns", median(plain, ROUNDS));
	json_object_end();
	free(vdm.ns);
	free(pool.ns);
}

void measure_latency(struct bench *bench)
{
	static const size_t sizes[] = {64, 4096, 65536, 1048576};
	struct vdm_region *region;
	struct vdm_ring *ring;

	if (vdm_region_alloc(bench->client, (size_t)2 * 1048576, &region) ||
	    vdm_ring_open(bench->client, NULL, &ring))
		bench_fail("latency", vdm_last_error());
	json_list("latency");
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		measure_size(bench, ring, vdm_region_address(region), sizes[i]);
	json_list_end();
	vdm_ring_close(ring);
	vdm_region_release(region);
}
