/* SPDX-License-Identifier: BSD-3-Clause */
/* One client process: reads files into a region, has them copied to another, and compares with the file. */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <libvdm.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CHUNK ((size_t)16 << 20) /* read, copied and verified at a time */
#define PIECE ((size_t)1 << 20)  /* one operation */
#define DEPTH (CHUNK / PIECE)

struct client {
	struct vdm_client *vdm;
	struct vdm_ring *ring;
	struct vdm_region *from_region, *to_region;
	char *from, *to;
	struct tally *tally;
	unsigned chunks;
};

static uint64_t clock_value(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t now_ns(void)
{
	return clock_value(CLOCK_MONOTONIC);
}

uint64_t cpu_ns(void)
{
	return clock_value(CLOCK_PROCESS_CPUTIME_ID);
}

static void count(_Atomic uint64_t *figure, uint64_t n)
{
	atomic_fetch_add_explicit(figure, n, memory_order_relaxed);
}

static int complain(const char *what)
{
	fprintf(stderr, "vdm-demo: %s: %s\n", what, vdm_last_error());
	return -1;
}

static int open_client(struct client *client)
{
	/* Copies of a mebibyte are worth sleeping for: what the client's CPU does meanwhile is for others. */
	const struct vdm_options options = {.size = sizeof options,
					    .flags = VDM_OPTION_REQUIRE_DAEMON,
					    .entries = DEPTH,
					    .spin_us = VDM_NO_SPIN};

	if (vdm_client_open(&options, &client->vdm))
		return complain("cannot connect");
	if (vdm_region_alloc(client->vdm, CHUNK, &client->from_region) ||
	    vdm_region_alloc(client->vdm, CHUNK, &client->to_region))
		return complain("cannot allocate");
	if (vdm_ring_open(client->vdm, NULL, &client->ring))
		return complain("cannot open a ring");
	client->from = vdm_region_address(client->from_region);
	client->to = vdm_region_address(client->to_region);
	return 0;
}

static size_t pieces_of(size_t size)
{
	return (size + PIECE - 1) / PIECE;
}

static size_t piece_size(size_t size, size_t piece)
{
	return size - piece * PIECE < PIECE ? size - piece * PIECE : PIECE;
}

static int copy_offloaded(struct client *client, size_t size)
{
	struct vdm_cqe *cqe[DEPTH];
	size_t pieces = pieces_of(size);
	uint64_t began = now_ns(), cpu = cpu_ns();

	for (size_t i = 0; i < pieces; i++)
		vdm_prep_memcpy(vdm_ring_get_sqe(client->ring), client->to + i * PIECE,
				client->from + i * PIECE, piece_size(size, i), 0);
	vdm_ring_submit(client->ring);
	if (vdm_ring_wait_cqes(client->ring, cqe, (unsigned)pieces, NULL))
		return complain("cannot wait");
	count(&client->tally->offload_cpu_ns, cpu_ns() - cpu);
	count(&client->tally->offload_ns, now_ns() - began);
	for (size_t i = 0; i < pieces; i++) {
		if (cqe[i]->result) {
			fprintf(stderr, "vdm-demo: a copy failed: %s\n", strerror(-cqe[i]->result));
			return -1;
		}
	}
	vdm_ring_cq_advance(client->ring, (unsigned)pieces);
	count(&client->tally->bytes, size);
	count(&client->tally->operations, pieces);
	return 0;
}

static int copy_inline(struct client *client, size_t size)
{
	uint64_t began = now_ns(), cpu = cpu_ns();

	for (size_t i = 0; i < pieces_of(size); i++)
		memcpy(client->to + i * PIECE, client->from + i * PIECE, piece_size(size, i));
	count(&client->tally->inline_cpu_ns, cpu_ns() - cpu);
	count(&client->tally->inline_ns, now_ns() - began);
	return 0;
}

/* Both ways, in turns the one and the other first; what was there before is overwritten in between. */
static int copy_chunk(struct client *client, const char *content, size_t size)
{
	static int (*const ways[])(struct client *, size_t) = {copy_offloaded, copy_inline};
	unsigned first = client->chunks++ % 2;

	for (unsigned i = 0; i < 2; i++) {
		memset(client->to, 0xa5, size);
		if (ways[first ^ i](client, size) < 0)
			return -1;
		if (memcmp(client->to, content, size) != 0)
			atomic_fetch_add_explicit(&client->tally->wrong, 1, memory_order_relaxed);
	}
	return 0;
}

static int copy_file(struct client *client, const struct file *file, uint64_t deadline_ns, bool whole)
{
	int fd = open(file->path, O_RDONLY | O_CLOEXEC);
	char *content = fd < 0 ? MAP_FAILED
			       : mmap(NULL, file->size, PROT_READ, MAP_PRIVATE, fd, 0);
	int result = 0;

	if (content == MAP_FAILED) {
		fprintf(stderr, "vdm-demo: %s: %s\n", file->path, strerror(errno));
		result = -1;
	}
	for (uint64_t at = 0; !result && at < file->size && (whole || now_ns() < deadline_ns);
	     at += CHUNK) {
		size_t size = file->size - at < CHUNK ? file->size - at : CHUNK;

		if (pread(fd, client->from, size, (off_t)at) != (ssize_t)size) {
			fprintf(stderr, "vdm-demo: %s cannot be read\n", file->path);
			result = -1;
		} else {
			result = copy_chunk(client, content + at, size);
		}
	}
	if (content != MAP_FAILED)
		munmap(content, file->size);
	if (fd >= 0)
		close(fd);
	return result;
}

static void close_client(struct client *client)
{
	struct vdm_client_counters counters = {.size = sizeof counters};

	if (vdm_client_counters(client->vdm, &counters) == 0) {
		count(&client->tally->offloaded, counters.offloaded);
		count(&client->tally->offloaded_bytes, counters.offloaded_bytes);
		count(&client->tally->small, counters.local_small);
		count(&client->tally->elsewhere,
		      counters.local_outside + counters.local_disconnected);
	}
	vdm_ring_close(client->ring);
	vdm_region_release(client->from_region);
	vdm_region_release(client->to_region);
	vdm_client_close(client->vdm);
}

int client_run(const struct files *files, size_t index, size_t step, uint64_t deadline_ns,
	       struct tally *tally)
{
	struct client client = {.tally = tally};
	int result = open_client(&client);

	for (unsigned round = 0; !result && (round == 0 || now_ns() < deadline_ns); round++)
		for (size_t i = index; !result && i < files->count; i += step)
			result = copy_file(&client, &files->file[i], deadline_ns, round == 0);
	if (client.ring)
		close_client(&client);
	return result < 0;
}
