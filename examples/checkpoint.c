/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * checkpoint [MEGABYTES]: write a state durably while the next one is computed. Memory and file
 * have two halves: each round computes into one half of the memory, while the other goes to its
 * half of the file. An older state stays whole there while a newer one is written. A state counts
 * when its number is durable, in a page of its own behind both halves: after a crash, the state
 * with the highest number is the one to go on with.
 */
#include <errno.h>
#include <fcntl.h>
#include <libvdm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE  ((size_t)1 << 20)
#define PAGE   ((size_t)4096)
#define ROUNDS 3

static char *state[2], *file;
static size_t state_bytes;
static struct vdm_ring *ring;
static struct vdm_region *regions[3]; /* both halves of the memory, and the file */

static int complain(const char *what, const char *why)
{
	fprintf(stderr, "checkpoint: %s: %s\n", what, why);
	return 1;
}

static void compute(char *bytes, unsigned round)
{
	for (size_t i = 0; i < state_bytes; i++)
		bytes[i] = (char)(i * 31 + round);
}

/* Wait for `count` operations, and return the first error, or 0. */
static int await(unsigned count)
{
	int error = 0;

	while (count-- > 0) {
		struct vdm_cqe *cqe;

		if (vdm_ring_wait_cqe(ring, &cqe))
			return -EIO;
		if (!error)
			error = cqe->result;
		vdm_ring_cqe_seen(ring, cqe);
	}
	return error;
}

/*
 * Begin to write a state, and then its number. A flush is ordered after all earlier operations, and
 * completes when what they have written is durable. The fence keeps the number behind the flush.
 */
static unsigned begin_checkpoint(unsigned half, const unsigned *number)
{
	char *to = file + half * state_bytes;
	unsigned operations = 0;
	struct vdm_sqe *sqe;

	for (size_t at = 0; at < state_bytes; at += PIECE, operations++) {
		sqe = vdm_ring_get_sqe(ring);
		vdm_prep_memcpy(sqe, to + at, state[half] + at, PIECE, 0);
	}
	sqe = vdm_ring_get_sqe(ring);
	vdm_prep_flush(sqe, to, state_bytes, 0);
	sqe = vdm_ring_get_sqe(ring);
	vdm_prep_memcpy(sqe, file + 2 * state_bytes + half * PAGE, number, sizeof *number,
			VDM_SQE_FENCE | VDM_SQE_DURABLE);
	return vdm_ring_submit(ring) < 0 ? 0 : operations + 2;
}

static int open_all(struct vdm_client **client, int fd)
{
	struct vdm_options options = {.size = sizeof options, .entries = 4096};

	if (vdm_client_open(&options, client))
		return complain("vdm_client_open", vdm_last_error());
	for (unsigned i = 0; i < 2; i++) {
		if (vdm_region_alloc(*client, state_bytes, &regions[i]))
			return complain("vdm_region_alloc", vdm_last_error());
		state[i] = vdm_region_address(regions[i]);
	}
	if (vdm_region_open_file(*client, fd, 0, 2 * (state_bytes + PAGE), VDM_REGION_EXTEND,
				 &regions[2]))
		return complain("vdm_region_open_file", vdm_last_error());
	file = vdm_region_address(regions[2]);
	if (vdm_ring_open(*client, NULL, &ring))
		return complain("vdm_ring_open", vdm_last_error());
	return 0;
}

int main(int argc, char **argv)
{
	char name[] = "checkpoint-XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC), error = 0;
	struct vdm_client *client;
	unsigned long megabytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;
	unsigned pending = 0, number = 0, read_back = 0;

	if (megabytes < 1 || megabytes > 4000)
		return complain("a state", "it has to be of 1 to 4000 megabytes");
	if (fd < 0)
		return complain(name, strerror(errno));
	unlink(name);
	state_bytes = megabytes * PIECE;
	if (open_all(&client, fd))
		return 1;
	for (unsigned round = 0; round < ROUNDS && !error; round++) {
		compute(state[round % 2], round); /* while the one before is being written */
		error = await(pending);
		number = round;
		pending = begin_checkpoint(round % 2, &number);
	}
	if (!error)
		error = await(pending);
	if (error)
		return complain("writing", strerror(-error));
	pread(fd, &read_back, sizeof read_back, (off_t)(2 * state_bytes + (ROUNDS - 1) % 2 * PAGE));
	if (read_back != ROUNDS - 1)
		return complain("reading back", "another number");
	printf("%u states of %zu MiB each are durable\n", ROUNDS, state_bytes / PIECE);
	vdm_ring_close(ring);
	for (unsigned i = 0; i < 3; i++)
		vdm_region_release(regions[i]);
	vdm_client_close(client);
	close(fd);
	return 0;
}
