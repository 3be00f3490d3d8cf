/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sixteen client processes of as many users, each with four rings in four threads, operations and
 * sizes mixed; every byte that could have changed is compared with a model that the C library has
 * computed.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "client_processes.h"
#include "process_figures.h"
#include "ring_use.h"
#include "scale.h"

#define PROCESSES 16
#define RINGS     4
#define FIRST_UID 20000
#define BATCHES   150
#define BATCH     8

#define PAGE  ((size_t)4096)
#define LARGE ((size_t)2 << 20)
#define HUGE  ((size_t)256 << 20)
#define EDGE  ((size_t)128) /* around each destination: must not change, unless it is within it */
#define SLOT  (LARGE + PAGE)

/* The memory of 256 MiB operations is for the first ring of the first so many processes. */
#define HUGE_PROCESSES 3

/* How often each comes, in 64; the large ones cost most of the time all the same. */
static const struct {
	size_t length;
	unsigned weight;
} sizes[] = {
	{0, 4},         {1, 6},     {63, 6},        {64, 6},    {65, 6},
	{PAGE - 1, 7},  {PAGE, 7},  {PAGE + 1, 7},  {40000, 6}, {300000, 6},
	{LARGE - 1, 1}, {LARGE, 1}, {LARGE + 1, 1},
};

/* xorshift64 (Marsaglia 2003): the same numbers in each run. */
static uint64_t draw(uint64_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random;
}

static size_t draw_length(uint64_t *random)
{
	unsigned n = (unsigned)(draw(random) % 64);

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		if (n < sizes[i].weight)
			return sizes[i].length;
		n -= sizes[i].weight;
	}
	return 0;
}

static void fill(char *memory, size_t n, uint64_t seed)
{
	uint64_t random = seed * 0x9e3779b97f4a7c15 + 1;

	for (size_t i = 0; i + 8 <= n; i += 8) {
		uint64_t word = draw(&random);

		memcpy(memory + i, &word, 8);
	}
}

struct lane {
	struct vdm_client *client;
	struct vdm_region *source_region, *dest_region;
	struct vdm_ring *ring;
	const char *source; /* SLOT bytes, never written */
	char *dest;         /* BATCH slots, each for one operation of a batch */
	char *model;        /* what they should hold */
	uint64_t random;
	pthread_t thread;
};

/* What has to be compared of one slot after the batch. */
struct extent {
	size_t begin, end;
};

static struct extent around(size_t offset, size_t length)
{
	size_t end = offset + length + EDGE;

	return (struct extent){offset > EDGE ? offset - EDGE : 0, end < SLOT ? end : SLOT};
}

/* One operation on slot `n`, in the ring and in the model. */
static struct extent prepare(struct lane *lane, unsigned n)
{
	size_t length = draw_length(&lane->random);
	size_t to = draw(&lane->random) % (SLOT - length + 1);
	size_t from = draw(&lane->random) % (SLOT - length + 1);
	char *dest = lane->dest + n * SLOT, *model = lane->model + n * SLOT;
	unsigned flags = draw(&lane->random) % 4 ? 0 : VDM_SQE_NO_CACHE;
	struct vdm_sqe *sqe = entry(lane->ring);
	int c = (int)(draw(&lane->random) & 0xff);

	if (draw(&lane->random) % 16 == 0)
		flags |= VDM_SQE_FENCE;
	if (draw(&lane->random) % 16 == 0)
		flags |= VDM_SQE_LINK;
	switch (draw(&lane->random) % 8) {
	case 0:
	case 1:
		vdm_prep_memset(sqe, dest + to, c, length, flags);
		memset(model + to, c, length);
		break;
	case 2:
	case 3: /* within the slot, so that it overlaps */
		vdm_prep_memmove(sqe, dest + to, dest + from, length, flags);
		memmove(model + to, model + from, length);
		break;
	case 4:
		vdm_prep_flush(sqe, dest + to, length, flags);
		break;
	default:
		vdm_prep_memcpy(sqe, dest + to, lane->source + from, length, flags);
		memcpy(model + to, lane->source + from, length);
	}
	sqe->user_data = n;
	return around(to, length);
}

static void run_batch(struct lane *lane)
{
	struct extent extents[BATCH];
	int32_t results[BATCH];
	unsigned count = 1 + (unsigned)(draw(&lane->random) % BATCH);

	for (unsigned i = 0; i < count; i++)
		extents[i] = prepare(lane, i);
	run_all(lane->ring, count, results, NULL);
	for (unsigned i = 0; i < count; i++) {
		const char *dest = lane->dest + i * SLOT, *model = lane->model + i * SLOT;
		struct extent e = extents[i];

		CHECK(results[i] == 0, "operation %u: %s", i, strerror(-results[i]));
		CHECK(memcmp(dest + e.begin, model + e.begin, e.end - e.begin) == 0,
		      "slot %u differs from the model between %zu and %zu", i, e.begin, e.end);
	}
}

static void *run_lane(void *argument)
{
	struct lane *lane = argument;

	for (unsigned n = 0; n < scaled(BATCHES); n++)
		run_batch(lane);
	/* also what no operation should have touched */
	CHECK(memcmp(lane->dest, lane->model, BATCH * SLOT) == 0, "the end differs from the model");
	return NULL;
}

static void open_lane(struct lane *lane, struct vdm_client *client, uint64_t seed)
{
	lane->client = client;
	lane->random = seed * 0x9e3779b97f4a7c15 + 7;
	lane->ring = ring_opened(client, 16, (uint32_t)seed * 0x1111111);
	char *source = region_opened(client, SLOT, &lane->source_region);

	fill(source, SLOT, seed);
	lane->source = source;
	lane->dest = region_opened(client, BATCH * SLOT, &lane->dest_region);
	lane->model = malloc(BATCH * SLOT);
	CHECK(lane->model, "no memory");
	memcpy(lane->model, lane->dest, BATCH * SLOT);
}

static void close_lane(struct lane *lane)
{
	vdm_ring_close(lane->ring);
	vdm_region_release(lane->source_region);
	vdm_region_release(lane->dest_region);
	free(lane->model);
}

static void copy_huge(struct vdm_client *client, uint64_t seed)
{
	struct vdm_region *source_region, *dest_region;
	char *source = region_opened(client, HUGE + PAGE, &source_region);
	char *dest = region_opened(client, HUGE + PAGE, &dest_region);
	struct vdm_ring *ring = ring_opened(client, 4, 0);
	size_t from = seed % PAGE, to = PAGE - 1 - seed % 100;

	fill(source, HUGE + PAGE, seed);
	vdm_prep_memcpy(entry(ring), dest + to, source + from, HUGE, 0);
	CHECK(run_one(ring) == 0, "copying 256 MiB");
	CHECK(memcmp(dest + to, source + from, HUGE) == 0, "256 MiB differ");
	CHECK(dest[to - 1] == 0, "the byte before");
	/* overlapping, by less than a page */
	vdm_prep_memmove(entry(ring), source + 5, source, HUGE, 0);
	CHECK(run_one(ring) == 0, "moving 256 MiB");
	CHECK(memcmp(source + 5 + from, dest + to, HUGE - from - 5) == 0, "256 MiB moved differ");
	vdm_prep_memset(entry(ring), dest + 1, 0x33, HUGE, 0);
	CHECK(run_one(ring) == 0, "setting 256 MiB");
	CHECK(dest[1] == 0x33 && memcmp(dest + 1, dest + 2, HUGE - 1) == 0, "256 MiB set differ");
	vdm_ring_close(ring);
	vdm_region_release(source_region);
	vdm_region_release(dest_region);
}

static void stress(unsigned index, void *argument)
{
	struct lane lanes[RINGS];

	(void)argument;
	if (getuid() == 0)
		CHECK(setgid(FIRST_UID + index) == 0 && setuid(FIRST_UID + index) == 0, "%s",
		      strerror(errno));
	/* or else what overlaps would not go to the daemon */
	struct vdm_client *client = client_opened_with(VDM_OPTION_NO_RECOVERY);

	for (unsigned i = 0; i < RINGS; i++)
		open_lane(&lanes[i], client, index * RINGS + i + 1);
	for (unsigned i = 0; i < RINGS; i++)
		CHECK(pthread_create(&lanes[i].thread, NULL, run_lane, &lanes[i]) == 0, "thread");
	if (index < HUGE_PROCESSES)
		copy_huge(client, index + 1);
	for (unsigned i = 0; i < RINGS; i++)
		pthread_join(lanes[i].thread, NULL);

	struct vdm_client_counters counters = counters_of(client);

	CHECK(counters.local_outside + counters.local_disconnected == 0,
	      "operations took the local lane");
	CHECK(counters.failed == 0, "operations failed");
	for (unsigned i = 0; i < RINGS; i++)
		close_lane(&lanes[i]);
	vdm_client_close(client);
}

int main(int argc, char **argv)
{
	pid_t clients[PROCESSES];
	unsigned fds, mappings;

	scale_from_arguments(argc, argv);
	guard_against_hanging(170);
	if (getuid() != 0)
		printf("not root, so all clients are of one user\n");
	await_sessions(1);
	fds = count_fds(daemon_pid());
	mappings = count_memfd_mappings(daemon_pid());
	for (unsigned i = 0; i < PROCESSES; i++)
		clients[i] = client_process(stress, i, NULL);
	for (unsigned i = 0; i < PROCESSES; i++)
		client_joined(clients[i]);
	await_sessions(1);
	await_figure("descriptors of the daemon", count_fds, daemon_pid(), fds);
	await_figure("memory files mapped by the daemon", count_memfd_mappings, daemon_pid(),
		     mappings);
	CHECK(daemon_figures().violated == 0, "an honest client was taken for a hostile one");
	return 0;
}
