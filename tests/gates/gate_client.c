/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gate_client [--asleep]: prints what the library does for an operation, in a client of the daemon
 * at $VDM_SOCKET. The daemon has to have one worker, and to poll rings for as long as it can; with
 * --asleep, for no time at all. Nothing is counted while one side waits for the other.
 */
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "integration/check.h"
#include "integration/process_figures.h"
#include "integration/ring_memory.h"
#include "integration/ring_use.h"
#include "integration/scale.h"
#include "measure.h"
#include "proto/ring.h"

#define ENTRIES 64
#define SIZE    64
#define BATCH   32
#define ROUNDS  16

/* A daemon that waits for its CPU may fall asleep in one of the stretches that need it awake, but
 * not in each of this many. */
#define ATTEMPTS 10

static struct vdm_client *client;
static struct vdm_ring *ring;
static struct vdm_region *region;
static struct ring_memory shared;
static char *memory;
static uint32_t reaped; /* so far: the position of the next completion */

enum side { SUBMIT, REAP };

static void submit(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		vdm_prep_memcpy(vdm_ring_get_sqe(ring), memory + (BATCH + i) * SIZE,
				memory + i * SIZE, SIZE, 0);
	vdm_ring_submit(ring);
}

/* Without the library: how often a call of it finds nothing depends on the machine. */
static void await_published(unsigned count)
{
	uint32_t last = reaped + count - 1;
	const struct vdm_completion *slot =
		&vdm_completions(shared.completion.memory)[last & (ENTRIES - 1)];

	/* acquire; partner: consumer_complete(), release */
	while (atomic_load_explicit(&slot->sequence, memory_order_acquire) != last + 1)
		sched_yield();
}

static void reap(unsigned count)
{
	struct vdm_cqe *cqes[BATCH];
	unsigned failed = 0;

	if (count == 1) {
		failed = vdm_ring_wait_cqe(ring, cqes) < 0 || cqes[0]->result < 0;
		vdm_ring_cqe_seen(ring, cqes[0]);
	} else {
		unsigned got = vdm_ring_peek_batch(ring, cqes, count);

		for (unsigned i = 0; i < got; i++)
			failed |= cqes[i]->result < 0;
		failed |= got != count;
		vdm_ring_cq_advance(ring, got);
	}
	reaped += count;
	if (failed)
		abort();
}

/* Batches of `count` operations, of which one side is measured. */
static void stretch(const char *name, enum side side, unsigned count)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (side == SUBMIT)
			measure_begin();
		submit(count);
		if (side == SUBMIT)
			measure_end();
		await_published(count);
		if (side == REAP)
			measure_begin();
		reap(count);
		if (side == REAP)
			measure_end();
	}
	measure_report(name, ROUNDS * count);
}

static void busy(void)
{
	uint64_t wakeups = daemon_figures().wakeups;
	struct vdm_client_counters before = counters_of(client);

	stretch("submit-32", SUBMIT, BATCH);
	stretch("reap-32", REAP, BATCH);
	stretch("submit-1", SUBMIT, 1);
	stretch("reap-1", REAP, 1);
	figure("busy", "wakeups", daemon_figures().wakeups - wakeups);
	figure("busy", "doorbells", counters_of(client).doorbells - before.doorbells);
	figure("busy", "sleeps", counters_of(client).sleeps - before.sleeps);
}

/* A batch for a daemon that sleeps. */
static void asleep(void)
{
	daemon_await_sleep();
	uint64_t doorbells = counters_of(client).doorbells, wakeups = daemon_figures().wakeups;

	measure_begin();
	submit(BATCH);
	measure_end();
	measure_report("asleep", BATCH);
	await_published(BATCH);
	reap(BATCH);
	figure("asleep", "doorbells", counters_of(client).doorbells - doorbells);
	daemon_await_sleep();
	figure("asleep", "wakeups", daemon_figures().wakeups - wakeups);
}

/* One operation after the other, before the daemon has come: it cannot while it is frozen. One
 * doorbell is for all. */
static void on_its_way(void)
{
	uint64_t doorbells = counters_of(client).doorbells;

	daemon_freeze();
	measure_begin();
	for (unsigned i = 0; i < BATCH; i++)
		submit(1);
	measure_end();
	measure_report("on-its-way", BATCH);
	figure("on-its-way", "doorbells", counters_of(client).doorbells - doorbells);
	daemon_thaw();
	await_published(BATCH);
	reap(BATCH);
}

int main(int argc, char **argv)
{
	int sleeps = argc > 1 && strcmp(argv[1], "--asleep") == 0;

	if (measure_obstacle()) {
		printf("skipped: %s\n", measure_obstacle());
		return 77;
	}
	guard_against_hanging(600);
	client = client_opened();
	memory = region_opened(client, 2 * BATCH * SIZE, &region);
	ring = ring_opened_in(client, ENTRIES, VDM_PRIORITY_NORMAL, &shared);
	/* each function once, so that the dynamic linker has found them all */
	for (unsigned count = 1; count <= BATCH; count += BATCH - 1) {
		submit(count);
		await_published(count);
		reap(count);
	}
	for (unsigned i = 0; i < (measure_instructions() ? 1 : ATTEMPTS); i++) {
		if (sleeps) {
			asleep();
			on_its_way();
		} else {
			busy();
		}
	}
	figures_print();
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
	return 0;
}
