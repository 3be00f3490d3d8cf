/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What offloading is for: a computation that runs during the copy. How much of the shorter of the
 * two the other one hides, and from which size both together end sooner than one after the other
 * inline.
 */
#include "bench.h"

#include <errno.h>
#include <string.h>

#define ROUNDS 15
#define LARGE  ((size_t)16 << 20)

static volatile uint64_t sink;

/* Something that needs no memory. */
static void compute(uint64_t turns)
{
	uint64_t x = turns;

	for (uint64_t i = 0; i < turns; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		__asm__ volatile("" : "+r"(x)); /* each turn is needed */
	}
	sink = x;
}

static double turns_per_ns(void)
{
	double rates[ROUNDS];

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t begin = now_ns();

		compute(1000000);
		rates[i] = 1e6 / (double)(now_ns() - begin);
	}
	return median(rates, ROUNDS);
}

enum what { COPY, COMPUTE, TOGETHER, INLINE, INLINE_BOTH };

struct work {
	struct vdm_ring *ring;
	char *memory;
	size_t size;
	uint64_t turns;
};

static void submit(const struct work *work)
{
	vdm_prep_memcpy(vdm_ring_get_sqe(work->ring), work->memory + LARGE, work->memory,
			work->size, 0);
	vdm_ring_submit(work->ring);
}

static void wait_for_it(const struct work *work)
{
	struct vdm_cqe *cqe;

	if (vdm_ring_wait_cqe(work->ring, &cqe) || cqe->result)
		bench_fail("overlap", "an operation failed");
	vdm_ring_cqe_seen(work->ring, cqe);
}

/* It has slept while others were measured. Not by waiting, which would not wait for that. */
static void wake_daemon(const struct work *work)
{
	struct vdm_cqe *cqe;

	vdm_prep_nop(vdm_ring_get_sqe(work->ring));
	vdm_ring_submit(work->ring);
	while (vdm_ring_peek_cqe(work->ring, &cqe) == -EAGAIN)
		spin_pause();
	vdm_ring_cqe_seen(work->ring, cqe);
}

static void do_it(const struct work *work, enum what what)
{
	if (what == COPY || what == TOGETHER)
		submit(work);
	if (what == INLINE || what == INLINE_BOTH)
		memcpy(work->memory + LARGE, work->memory, work->size);
	if (what == COMPUTE || what == TOGETHER || what == INLINE_BOTH)
		compute(work->turns);
	if (what == COPY || what == TOGETHER)
		wait_for_it(work);
}

/* Median ns, each of a few repetitions. */
static void measure(const struct work *work, double ns[5])
{
	unsigned times = work->size < (1 << 20) ? 20 : 3;
	double samples[5][ROUNDS];

	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned what = COPY; what <= INLINE_BOTH; what++) {
			/* once before: the bytes are where they are worked on */
			wake_daemon(work);
			do_it(work, (enum what)what);
			uint64_t begin = now_ns();

			for (unsigned i = 0; i < times; i++)
				do_it(work, (enum what)what);
			samples[what][round] = (double)(now_ns() - begin) / times;
		}
	}
	for (unsigned what = COPY; what <= INLINE_BOTH; what++)
		ns[what] = median(samples[what], ROUNDS);
}

static struct work open_work(struct bench *bench, struct vdm_region **region)
{
	struct work work = {0};

	if (vdm_region_alloc(bench->client, 2 * LARGE, region) ||
	    vdm_ring_open(bench->client, NULL, &work.ring))
		bench_fail("overlap", vdm_last_error());
	work.memory = vdm_region_address(*region);
	return work;
}

void measure_overlap(struct bench *bench)
{
	static const size_t sizes[] = {65536, 262144, 1048576, 4194304, LARGE};
	double rate = turns_per_ns(), ns[5];
	struct vdm_region *region;
	struct work work = open_work(bench, &region);

	json_list("overlap");
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		work.size = sizes[i];
		work.turns = 1;
		measure(&work, ns);
		work.turns = (uint64_t)(ns[COPY] * rate); /* as long as the copy */
		measure(&work, ns);
		double shorter = ns[COPY] < ns[COMPUTE] ? ns[COPY] : ns[COMPUTE];

		json_object(NULL);
		json_value("size", (double)work.size);
		json_value("hidden", (ns[COPY] + ns[COMPUTE] - ns[TOGETHER]) / shorter);
		json_object_end();
	}
	json_list_end();
	vdm_ring_close(work.ring);
	vdm_region_release(region);
}

/* The smallest size from which offloading wins, at all larger sizes too, with a computation as long
 * as the copy; 0: none. */
void measure_breakeven(struct bench *bench)
{
	double rate = turns_per_ns(), ns[5];
	struct vdm_region *region;
	struct work work = open_work(bench, &region);
	size_t smallest = 0;

	for (size_t size = LARGE; size >= 256; size /= 2) {
		work.size = size;
		work.turns = 1;
		measure(&work, ns);
		work.turns = (uint64_t)(ns[INLINE] * rate);
		measure(&work, ns);
		if (ns[TOGETHER] >= ns[INLINE_BOTH])
			break;
		smallest = size;
	}
	json_value("breakeven_bytes", (double)smallest);
	vdm_ring_close(work.ring);
	vdm_region_release(region);
}
