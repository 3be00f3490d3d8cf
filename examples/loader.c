/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loader [FILE]: read a file in pieces, some of them ahead of their use. The program adds up a
 * piece while the next ones come.
 */
#include <errno.h>
#include <fcntl.h>
#include <libvdm.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE ((size_t)256 << 10)
#define AHEAD 4

static int complain(const char *what, const char *why)
{
	fprintf(stderr, "loader: %s: %s\n", what, why);
	return 1;
}

static size_t piece_size(size_t bytes, size_t piece)
{
	const size_t left = bytes - piece * PIECE;

	return left < PIECE ? left : PIECE;
}

static void fetch(struct vdm_ring *ring, char *memory, const char *file, size_t bytes, size_t piece)
{
	struct vdm_sqe *sqe = vdm_ring_get_sqe(ring);

	vdm_prep_memcpy(sqe, memory + piece % AHEAD * PIECE, file + piece * PIECE,
			piece_size(bytes, piece), 0);
	sqe->user_data = piece;
	vdm_ring_submit(ring);
}

/* Pieces may come in another order. Returns 0 or a negative errno. */
static int await(struct vdm_ring *ring, unsigned char *arrived, size_t piece)
{
	int error = 0;

	while (!arrived[piece % AHEAD] && !error) {
		struct vdm_cqe *cqe;

		if (vdm_ring_wait_cqe(ring, &cqe))
			return -EIO;
		arrived[cqe->user_data % AHEAD] = 1;
		error = cqe->result;
		vdm_ring_cqe_seen(ring, cqe);
	}
	return error;
}

static int add_up(struct vdm_client *client, int fd, size_t bytes)
{
	const size_t pieces = (bytes + PIECE - 1) / PIECE;
	struct vdm_region *memory_region, *file_region;
	unsigned char arrived[AHEAD] = {0};
	unsigned long long sum = 0;
	struct vdm_ring *ring;

	if (vdm_region_alloc(client, AHEAD * PIECE, &memory_region) ||
	    vdm_region_open_file(client, fd, 0, bytes, VDM_REGION_READONLY, &file_region) ||
	    vdm_ring_open(client, NULL, &ring))
		return complain("opening", vdm_last_error());

	char *memory = vdm_region_address(memory_region), *file = vdm_region_address(file_region);

	for (size_t piece = 0; piece < AHEAD && piece < pieces; piece++)
		fetch(ring, memory, file, bytes, piece);
	for (size_t piece = 0; piece < pieces; piece++) {
		const unsigned char *at = (unsigned char *)memory + piece % AHEAD * PIECE;
		int error = await(ring, arrived, piece);

		if (error)
			return complain("reading", strerror(-error));
		for (size_t i = 0; i < piece_size(bytes, piece); i++)
			sum += at[i];
		arrived[piece % AHEAD] = 0;
		if (piece + AHEAD < pieces)
			fetch(ring, memory, file, bytes, piece + AHEAD);
	}
	printf("%zu bytes add up to %llu\n", bytes, sum);
	vdm_ring_close(ring);
	vdm_region_release(file_region);
	vdm_region_release(memory_region);
	return 0;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "/proc/self/exe";
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	struct vdm_client *client;
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		return complain(name, strerror(errno));
	if (vdm_client_open(NULL, &client))
		return complain("vdm_client_open", vdm_last_error());

	int result = add_up(client, fd, (size_t)status.st_size);

	vdm_client_close(client);
	close(fd);
	return result;
}
