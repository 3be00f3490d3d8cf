/* SPDX-License-Identifier: BSD-3-Clause */
/* Many small operations in flight: how many complete in a second, and what submitting them
 * costs. */
#include "bench.h"

#include <stdatomic.h>

#define SIZE   64
#define DEPTH  128
#define BATCH  32
#define ROUNDS 5

static void submit_batch(struct vdm_ring *ring, char *memory, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		vdm_prep_memcpy(vdm_ring_get_sqe(ring), memory + (size_t)(DEPTH + i) * SIZE,
				memory + (size_t)i * SIZE, SIZE, 0);
	vdm_ring_submit(ring);
}

static unsigned reap(struct vdm_ring *ring)
{
	struct vdm_cqe *cqes[DEPTH];
	unsigned count = vdm_ring_peek_batch(ring, cqes, DEPTH);

	for (unsigned i = 0; i < count; i++)
		if (cqes[i]->result)
			bench_fail("rate", "an operation failed");
	vdm_ring_cq_advance(ring, count);
	return count;
}

/* Millions of operations a second, in flight: at most DEPTH. */
static double ring_rate(struct vdm_ring *ring, char *memory, unsigned total)
{
	uint64_t begin = now_ns();
	unsigned submitted = 0, done = 0;

	while (done < total) {
		unsigned room = DEPTH - (submitted - done);

		if (room > total - submitted)
			room = total - submitted;
		if (room >= BATCH || (room && submitted + room == total)) {
			submit_batch(ring, memory, room);
			submitted += room;
		}
		done += reap(ring);
	}
	return total * 1e3 / (double)(now_ns() - begin);
}

static double pool_rate(struct bench *bench, char *memory, unsigned total)
{
	static struct pool_job jobs[DEPTH];
	struct pool *pool = pool_start(1, bench->worker_cpu);
	uint64_t begin = now_ns();

	for (unsigned i = 0; i < total; i++) {
		struct pool_job *job = &jobs[i % DEPTH];

		if (i >= DEPTH)
			pool_wait(job);
		job->dest = memory + (size_t)(DEPTH + i % DEPTH) * SIZE;
		job->src = memory + (size_t)(i % DEPTH) * SIZE;
		job->length = SIZE;
		pool_submit(pool, job);
	}
	for (unsigned i = 0; i < DEPTH; i++)
		pool_wait(&jobs[i]);

	double rate = total * 1e3 / (double)(now_ns() - begin);

	pool_stop(pool);
	return rate;
}

static char *prepare(struct bench *bench, struct vdm_region **region, struct vdm_ring **ring)
{
	if (vdm_region_alloc(bench->client, (size_t)2 * DEPTH * SIZE, region) ||
	    vdm_ring_open(bench->client, NULL, ring))
		bench_fail("rate", vdm_last_error());
	return vdm_region_address(*region);
}

void measure_rate(struct bench *bench)
{
	double vdm[ROUNDS], pool[ROUNDS];
	struct vdm_region *region;
	struct vdm_ring *ring;
	char *memory = prepare(bench, &region, &ring);
	unsigned times = bench->quick ? 1 : 5;

	for (int i = 0; i < ROUNDS; i++) {
		vdm[i] = ring_rate(ring, memory, 2000000 * times);
		pool[i] = pool_rate(bench, memory, 200000 * times);
	}
	json_object("rate");
	json_value("size", SIZE);
	json_value("depth", DEPTH);
	json_value("vdm_mops", median(vdm, ROUNDS));
	json_value("pool_mops", median(pool, ROUNDS));
	json_object_end();
	vdm_ring_close(ring);
	vdm_region_release(region);
}

void measure_submit(struct bench *bench)
{
	double each[ROUNDS];
	struct vdm_region *region;
	struct vdm_ring *ring;
	char *memory = prepare(bench, &region, &ring);
	unsigned batches = bench->quick ? 20000 : 200000;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t spent = 0;

		for (unsigned batch = 0; batch < batches; batch++) {
			uint64_t begin = now_ns();

			submit_batch(ring, memory, BATCH);
			spent += since_ns(begin);
			for (unsigned done = 0; done < BATCH;)
				done += reap(ring);
		}
		each[i] = (double)spent / ((double)batches * BATCH);
	}
	json_object("submit");
	json_value("batch", BATCH);
	json_value("vdm_ns_per_op", median(each, ROUNDS));
	json_value("future_ns_per_op", future_submit_ns(bench, batches / 4));
	json_object_end();
	vdm_ring_close(ring);
	vdm_region_release(region);
}
