/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One client: a process that copies bytes of the files, piece by piece, and computes the checksum
 * of every copy. The loop is one for all ways: a ring that offloads nothing copies in
 * vdm_ring_submit().
 */
#include "demo.h"

#include <libvdm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One operation, and what one checksum is of. Between 64 KiB and 1 MiB, and from 4 operations in
 * flight on, the gain was the same on two CPUs of an AMD EPYC. Above 1 MiB, a client that waits
 * takes fewer operations back. */
#define PIECE ((size_t)256 << 10)
#define DEPTH 8

/* What one client copies in a round. Together with what it copies it to, it is more than caches
 * hold. Many clients fill the caches together. */
#define BYTES_MOST  ((size_t)64 << 20)
#define BYTES_LEAST ((size_t)16 << 20)
#define BYTES_ALL   ((size_t)128 << 20)

#define GARBAGE 0xa5

struct client {
	const struct scene *scene;
	struct account *account;
	struct vdm_client *vdm;
	struct vdm_ring *inline_ring, *offload_ring;
	struct vdm_region *from_region, *to_region;
	char *from, *to;
	struct checksum *checksum, *expected; /* of each piece */
};

uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

size_t client_bytes(size_t clients)
{
	size_t share = BYTES_ALL / clients / PIECE * PIECE;

	return share > BYTES_MOST ? BYTES_MOST : share < BYTES_LEAST ? BYTES_LEAST : share;
}

static int complain(const char *what)
{
	fprintf(stderr, "vdm-demo: %s: %s\n", what, vdm_last_error());
	return -1;
}

static int open_rings(struct client *client)
{
	const struct vdm_options inline_options = {.size = sizeof inline_options,
						   .offload_threshold = SIZE_MAX};
	const struct vdm_options offload_options = {.size = sizeof offload_options,
						    .offload_threshold = 1};

	if (vdm_ring_open(client->vdm, &inline_options, &client->inline_ring) ||
	    vdm_ring_open(client->vdm, &offload_options, &client->offload_ring))
		return complain("cannot open a ring");
	return 0;
}

static int open_client(struct client *client)
{
	const struct vdm_options options = {
		.size = sizeof options, .flags = VDM_OPTION_REQUIRE_DAEMON, .entries = DEPTH};
	size_t bytes = client->scene->bytes;

	if (vdm_client_open(&options, &client->vdm))
		return complain("cannot connect");
	if (vdm_region_alloc(client->vdm, bytes, &client->from_region) ||
	    vdm_region_alloc(client->vdm, bytes, &client->to_region))
		return complain("cannot allocate");
	client->from = vdm_region_address(client->from_region);
	client->to = vdm_region_address(client->to_region);
	client->checksum = calloc(bytes / PIECE, sizeof *client->checksum);
	client->expected = calloc(bytes / PIECE, sizeof *client->expected);
	if (!client->checksum || !client->expected) {
		fprintf(stderr, "vdm-demo: out of memory\n");
		return -1;
	}
	return open_rings(client);
}

static int close_client(struct client *client)
{
	struct vdm_client_counters counters = {.size = sizeof counters};
	bool reached = vdm_client_counters(client->vdm, &counters) == 0 &&
		       counters.local_outside + counters.local_disconnected == 0;

	client->account->offloaded = counters.offloaded;
	client->account->taken_back = counters.taken_back;
	vdm_ring_close(client->inline_ring);
	vdm_ring_close(client->offload_ring);
	vdm_region_release(client->from_region);
	vdm_region_release(client->to_region);
	vdm_client_close(client->vdm);
	if (!reached)
		fprintf(stderr, "vdm-demo: not all operations reached the daemon\n");
	return reached ? 0 : -1;
}

static void submit(const struct client *client, struct vdm_ring *ring, size_t piece, unsigned flags)
{
	struct vdm_sqe *sqe = vdm_ring_get_sqe(ring);

	vdm_prep_memcpy(sqe, client->to + piece * PIECE, client->from + piece * PIECE, PIECE,
			flags);
	sqe->user_data = piece;
	vdm_ring_submit(ring);
}

/* Copy everything, with `depth` pieces in flight, and compute the checksum of each piece as soon as
 * it is there. */
static int copy_and_sum(struct client *client, struct vdm_ring *ring, size_t depth, unsigned flags)
{
	size_t pieces = client->scene->bytes / PIECE, submitted = 0;
	struct vdm_cqe *cqe;

	for (size_t summed = 0; summed < pieces; summed++) {
		for (; submitted < pieces && submitted < summed + depth; submitted++)
			submit(client, ring, submitted, flags);
		if (vdm_ring_wait_cqe(ring, &cqe))
			return complain("cannot wait");
		if (cqe->result) {
			fprintf(stderr, "vdm-demo: a copy failed: %s\n", strerror(-cqe->result));
			return -1;
		}
		size_t piece = cqe->user_data;

		vdm_ring_cqe_seen(ring, cqe);
		client->checksum[piece] = checksum_of(client->to + piece * PIECE, PIECE);
	}
	return 0;
}

static int work(struct client *client, enum way way)
{
	switch (way) {
	case INLINE:
		return copy_and_sum(client, client->inline_ring, 1, 0);
	case INLINE_STREAMING: /* each copy is summed at once, as well */
		return copy_and_sum(client, client->inline_ring, 1, VDM_SQE_NO_CACHE);
	default:
		return copy_and_sum(client, client->offload_ring, DEPTH, VDM_SQE_NO_CACHE);
	}
}

/* The next bytes of the files, and their checksums. */
static int load(struct client *client, unsigned round)
{
	size_t bytes = client->scene->bytes;

	if (files_read(client->scene->files, (uint64_t)round * bytes, client->from, bytes) < 0)
		return -1;
	for (size_t i = 0; i < bytes / PIECE; i++)
		client->expected[i] = checksum_of(client->from + i * PIECE, PIECE);
	return 0;
}

static int complain_of_bytes(void)
{
	fprintf(stderr, "vdm-demo: bytes are WRONG\n");
	return -1;
}

/* The copy equals its source, and was complete when its checksum was computed. */
static int verify_copy(const struct client *client)
{
	size_t bytes = client->scene->bytes;

	if (memcmp(client->to, client->from, bytes) != 0 ||
	    memcmp(client->checksum, client->expected, bytes / PIECE * sizeof *client->checksum) !=
		    0)
		return complain_of_bytes();
	return 0;
}

/* The source still equals the files. */
static int verify_source(const struct client *client, unsigned round)
{
	static char content[PIECE];
	size_t bytes = client->scene->bytes;

	for (size_t at = 0; at < bytes; at += PIECE) {
		if (files_read(client->scene->files, (uint64_t)round * bytes + at, content, PIECE) <
		    0)
			return -1;
		if (memcmp(client->from + at, content, PIECE) != 0)
			return complain_of_bytes();
	}
	return 0;
}

/* What all clients together took, when all have ended. */
static void take_sample(const struct scene *scene, struct sample *sample, uint64_t daemon_cpu_ns)
{
	const struct account *account = scene->stage->account;
	uint64_t begin = account[0].begin_ns, end = account[0].end_ns;

	for (size_t i = 0; i < scene->clients; i++) {
		begin = account[i].begin_ns < begin ? account[i].begin_ns : begin;
		end = account[i].end_ns > end ? account[i].end_ns : end;
		sample->client_cpu_ns += account[i].cpu_ns;
	}
	sample->elapsed_ns = end - begin;
	sample->daemon_cpu_ns = daemon_cpu_ns;
}

static int timed_work(struct client *client, enum way way, struct sample *sample)
{
	struct account *account = client->account;
	uint64_t daemon_cpu = clock_ns(client->scene->daemon_clock);

	pthread_barrier_wait(&client->scene->stage->barrier);
	account->begin_ns = clock_ns(CLOCK_MONOTONIC);
	account->cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	int result = work(client, way);

	account->cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - account->cpu_ns;
	account->end_ns = clock_ns(CLOCK_MONOTONIC);
	if (result < 0)
		return -1;
	pthread_barrier_wait(&client->scene->stage->barrier);
	if (sample)
		take_sample(client->scene, sample,
			    clock_ns(client->scene->daemon_clock) - daemon_cpu);
	return 0;
}

/* The same bytes in every way, each round beginning with another one. What was there before is
 * overwritten. */
static int run_round(struct client *client, unsigned round, struct sample sample[WAYS])
{
	if (load(client, round) < 0)
		return -1;
	for (unsigned i = 0; i < WAYS; i++) {
		enum way way = (enum way)((round + i) % WAYS);

		memset(client->to, GARBAGE, client->scene->bytes);
		memset(client->checksum, GARBAGE,
		       client->scene->bytes / PIECE * sizeof *client->checksum);
		if (timed_work(client, way, sample ? &sample[way] : NULL) < 0 ||
		    verify_copy(client) < 0)
			return -1;
	}
	return verify_source(client, round);
}

static int run_rounds(struct client *client, bool leads)
{
	struct stage *stage = client->scene->stage;
	uint64_t deadline = clock_ns(CLOCK_MONOTONIC) + client->scene->duration_ns;

	for (unsigned round = 0; !stage->over; round++) {
		if (run_round(client, round, leads ? stage->sample[round] : NULL) < 0)
			return -1;
		if (leads) {
			stage->rounds = round + 1;
			stage->over = stage->rounds == ROUNDS_MAXIMUM ||
				      (stage->rounds >= ROUNDS_MINIMUM &&
				       clock_ns(CLOCK_MONOTONIC) >= deadline);
		}
		pthread_barrier_wait(&stage->barrier);
	}
	return 0;
}

int client_run(const struct scene *scene, size_t index)
{
	struct client client = {.scene = scene, .account = &scene->stage->account[index]};
	bool right = open_client(&client) == 0 && run_rounds(&client, index == 0) == 0 &&
		     close_client(&client) == 0;

	free(client.checksum);
	free(client.expected);
	return !right;
}
