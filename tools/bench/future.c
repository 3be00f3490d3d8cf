/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Futures through the daemon and through the mover in this process, in turns: what a program that
 * was written for movers pays, beside what it pays with a mover of its own.
 */
#include "bench.h"

#include <stdlib.h>

#define ROUNDS 5
#define BATCH  32
#define DEPTH  8
#define LARGE  ((size_t)16 << 20)

struct movers {
	struct data_mover_daemon *daemon;
	struct data_mover_threads *threads;
	struct vdm *vdm[2]; /* the daemon's, the threads' */
	struct vdm_region *region;
	char *memory;
};

static struct movers open_movers(struct bench *bench)
{
	const struct vdm_options options = {.size = sizeof options,
					    .socket = bench->socket,
					    .flags = VDM_OPTION_REQUIRE_DAEMON,
					    .offload_threshold = 1};
	struct movers movers = {.daemon = data_mover_daemon_new(&options)};

	if (!movers.daemon)
		bench_fail("future", vdm_last_error());
	/* its thread where the daemon's worker is: threads are where they were started */
	pin_to_cpu(bench->worker_cpu);
	movers.threads = data_mover_threads_new(bench->workers, 256, FUTURE_NOTIFIER_NONE);
	pin_to_cpu(bench->client_cpu);
	if (!movers.threads || vdm_region_alloc(data_mover_daemon_get_client(movers.daemon),
						2 * LARGE, &movers.region))
		bench_fail("future", vdm_last_error());
	movers.vdm[0] = data_mover_daemon_get_vdm(movers.daemon);
	movers.vdm[1] = data_mover_threads_get_vdm(movers.threads);
	movers.memory = vdm_region_address(movers.region);
	return movers;
}

static void close_movers(struct movers *movers)
{
	struct vdm_client_counters counters = {.size = sizeof counters};

	vdm_client_counters(data_mover_daemon_get_client(movers->daemon), &counters);
	if (counters.local_small || counters.local_outside || counters.local_disconnected)
		bench_fail("figures are void", "some operations ran in vdm-bench, not in vdmd");
	vdm_region_release(movers->region);
	data_mover_daemon_delete(movers->daemon);
	data_mover_threads_delete(movers->threads);
}

static void finish(struct vdm_operation_future *future)
{
	FUTURE_BUSY_POLL(future);
	if (FUTURE_OUTPUT(future)->result != VDM_SUCCESS)
		bench_fail("future", "an operation failed");
}

static void one_at_a_time(struct vdm *vdm, char *memory, size_t size, uint64_t *ns, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t begin = now_ns();
		struct vdm_operation_future copy = vdm_memcpy(vdm, memory + LARGE, memory, size, 0);

		finish(&copy);
		ns[i] = since_ns(begin);
	}
}

static void measure_size(struct movers *movers, size_t size, size_t count)
{
	static const char *const keys[2][2] = {{"daemon_p50_ns", "daemon_p99_ns"},
					       {"threads_p50_ns", "threads_p99_ns"}};
	uint64_t *ns[2];

	for (unsigned m = 0; m < 2; m++) {
		ns[m] = malloc(ROUNDS * count * sizeof *ns[m]);
		if (!ns[m])
			bench_fail("future", "out of memory");
	}
	for (unsigned round = 0; round < ROUNDS; round++)
		for (unsigned m = 0; m < 2; m++)
			one_at_a_time(movers->vdm[m], movers->memory, size, ns[m] + round * count,
				      count);
	json_object(NULL);
	json_value("size", (double)size);
	for (unsigned m = 0; m < 2; m++) {
		sort_samples(ns[m], ROUNDS * count);
		json_value(keys[m][0], (double)percentile(ns[m], ROUNDS * count, 500));
		json_value(keys[m][1], (double)percentile(ns[m], ROUNDS * count, 990));
		free(ns[m]);
	}
	json_object_end();
}

void measure_future(struct bench *bench)
{
	static const size_t sizes[] = {64, 4096, 65536, 1048576};
	const size_t times = bench->quick ? 1 : 5;
	struct movers movers = open_movers(bench);

	json_list("future");
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		measure_size(&movers, sizes[i], (sizes[i] > 65536 ? 200 : 5000) * times);
	json_list_end();
	close_movers(&movers);
}

/* Millions of operations of 64 bytes in a second, and GB/s of large ones: DEPTH or more in
 * flight. */
static double rate(struct vdm *vdm, char *memory, size_t size, unsigned depth, unsigned total)
{
	struct vdm_operation_future future[BATCH];
	uint64_t begin = now_ns();

	for (unsigned i = 0; i < total + depth; i++) {
		struct vdm_operation_future *slot = &future[i % depth];

		if (i >= depth)
			finish(slot);
		if (i >= total)
			continue;
		*slot = vdm_memcpy(vdm, memory + LARGE, memory, size, 0);
		future_poll(FUTURE_AS_RUNNABLE(slot), NULL);
	}
	return (double)total / (double)(now_ns() - begin);
}

void measure_mover(struct bench *bench)
{
	struct movers movers = open_movers(bench);
	double small[2][ROUNDS], large[2][ROUNDS];
	unsigned times = bench->quick ? 1 : 5;

	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned m = 0; m < 2; m++) {
			small[m][round] =
				1e3 * rate(movers.vdm[m], movers.memory, 64, BATCH, 100000 * times);
			large[m][round] = (double)LARGE * rate(movers.vdm[m], movers.memory, LARGE,
							       DEPTH, 40 * times);
		}
	}
	json_object("mover");
	json_value("depth", BATCH);
	json_value("daemon_mops", median(small[0], ROUNDS));
	json_value("threads_mops", median(small[1], ROUNDS));
	json_value("size", (double)LARGE);
	json_value("daemon_gbps", median(large[0], ROUNDS));
	json_value("threads_gbps", median(large[1], ROUNDS));
	json_object_end();
	close_movers(&movers);
}

double future_submit_ns(struct bench *bench, unsigned batches)
{
	struct movers movers = open_movers(bench);
	struct vdm_operation_future future[BATCH];
	double each[ROUNDS];

	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t spent = 0;

		for (unsigned batch = 0; batch < batches; batch++) {
			uint64_t begin = now_ns();

			for (size_t i = 0; i < BATCH; i++) {
				future[i] =
					vdm_memcpy(movers.vdm[0], movers.memory + LARGE + i * 64,
						   movers.memory + i * 64, 64, 0);
				future_poll(FUTURE_AS_RUNNABLE(&future[i]), NULL);
			}
			spent += since_ns(begin);
			for (unsigned i = 0; i < BATCH; i++)
				finish(&future[i]);
		}
		each[round] = (double)spent / ((double)batches * BATCH);
	}
	close_movers(&movers);
	return median(each, ROUNDS);
}
