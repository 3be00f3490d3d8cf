/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gate_worker: prints what a worker does for an operation that is on the ring. The engine runs in
 * this process, with the options and regions that the daemon gives it. The program submits all
 * operations of a stretch while the worker is in the first of them, so the worker never finds the
 * ring empty.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "engine/queue.h"
#include "integration/check.h"
#include "integration/scale.h"
#include "measure.h"
#include "unit/raw_ring.h"

#define ENTRIES 4096
/* A multiple of the number of steps after which a worker looks at the clock, each a batch or an
 * operation. */
#define STEPS 64
#define BATCH BATCH_OPERATIONS

/* As many operations of this size are a batch: one. */
#define ALONE BATCH_BYTES

static struct engine *engine;
static struct engine_memory *regions;
static struct engine_account *account;
static struct raw_ring ring;
static uint32_t region;
static char memory[2 * ALONE];

/* The worker comes to the first operation of a stretch, and to the one after it. */
static pthread_barrier_t first, last;

/* memset marks both ends of a stretch: with 1 its beginning, with 2 its end. */
static void *mark(void *dest, int c, size_t n, unsigned flags)
{
	(void)n;
	(void)flags;
	if (c == 1) {
		pthread_barrier_wait(&first); /* it is there */
		pthread_barrier_wait(&first); /* and so are all operations */
		measure_begin();
	} else if (c == 2) {
		measure_end();
		pthread_barrier_wait(&last);
	}
	return dest;
}

/* memmove moves nothing: how long the move takes does not matter here. */
static void *stand_still(void *dest, const void *src, size_t n, unsigned flags)
{
	(void)src;
	(void)n;
	(void)flags;
	return dest;
}

static void put(enum vdm_opcode opcode, size_t length, int pattern)
{
	bool moves = opcode != VDM_OPCODE_MEMSET;
	const struct vdm_descriptor d = {.opcode = (uint8_t)opcode,
					 .destination_region = region,
					 .source_region = moves ? region : 0,
					 .source_offset = moves ? ALONE : 0,
					 .length = length,
					 .pattern = (uint64_t)pattern};

	raw_put(&ring, &d);
}

/* Count from within the first of `count` operations to within the operation after them. */
static void stretch(const char *name, enum vdm_opcode opcode, size_t length, unsigned count)
{
	const uint32_t begin = ring.sq;

	put(VDM_OPCODE_MEMSET, length, 1);
	raw_bell(&ring);
	pthread_barrier_wait(&first);
	for (unsigned i = 1; i < count; i++)
		put(opcode, length, 0);
	put(VDM_OPCODE_MEMSET, length, 2);
	uint64_t wakeups = engine_wakeups(engine);

	pthread_barrier_wait(&first);
	pthread_barrier_wait(&last);
	measure_report(name, count);
	figure(name, "wakeups", engine_wakeups(engine) - wakeups);
	while (ring.cq != begin + count + 1) {
		const struct vdm_completion *completion = raw_get(&ring);

		CHECK(completion && completion->result == 0, "completion %u of %s", ring.cq - begin,
		      name);
	}
}

int main(void)
{
	const struct engine_options options = {
		.workers = 1, .spin_us = UINT32_MAX, .supervised = true, .guard_faults = true};

	if (measure_obstacle()) {
		printf("skipped: %s\n", measure_obstacle());
		return 77;
	}
	guard_against_hanging(600);
	pthread_barrier_init(&first, NULL, 2);
	pthread_barrier_init(&last, NULL, 2);
	CHECK(engine_new(&options, &engine) == 0 && engine_account_new(engine, &account) == 0 &&
		      engine_memory_new(engine, 4, &regions) == 0 &&
		      engine_region_add(regions, memory, sizeof memory, true, &region) == 0,
	      "an engine");
	engine_set_kernels(engine, &(struct kernels){.set = mark, .move = stand_still});
	raw_ring_open(&ring, engine, account, regions, ENTRIES, 0);
	for (unsigned i = 0; i < (measure_instructions() ? 1 : 2); i++) {
		stretch("worker-32", VDM_OPCODE_MEMCPY, 64, STEPS * BATCH);
		stretch("worker-1", VDM_OPCODE_MEMMOVE, ALONE, 4 * STEPS);
	}
	figures_print();
	raw_ring_close(&ring, NULL);
	engine_memory_delete(regions);
	engine_account_delete(account);
	engine_delete(engine);
	return 0;
}
