/* SPDX-License-Identifier: BSD-3-Clause */
/* The native ring: a batch of copies between two regions, whose completions come in any order. */
#include <libvdm.h>
#include <stdio.h>
#include <string.h>

#define PIECES 16
#define PIECE  ((size_t)256 << 10)

static int complain(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, vdm_last_error());
	return 1;
}

/* Prepare a copy for each piece, and submit all of them together, with at most one doorbell. */
static int submit_all(struct vdm_ring *ring, char *to, const char *from)
{
	for (unsigned i = 0; i < PIECES; i++) {
		struct vdm_sqe *sqe = vdm_ring_get_sqe(ring);

		vdm_prep_memcpy(sqe, to + i * PIECE, from + i * PIECE, PIECE, 0);
		sqe->user_data = i;
	}
	return vdm_ring_submit(ring);
}

int main(void)
{
	struct vdm_options options = {.size = sizeof options, .entries = PIECES};
	struct vdm_region *from_region, *to_region;
	struct vdm_client *client;
	struct vdm_ring *ring;

	/* This succeeds without a daemon, too, and this process makes the copies then. */
	if (vdm_client_open(&options, &client))
		return complain("vdm_client_open");
	if (vdm_region_alloc(client, PIECES * PIECE, &from_region) ||
	    vdm_region_alloc(client, PIECES * PIECE, &to_region))
		return complain("vdm_region_alloc");
	if (vdm_ring_open(client, NULL, &ring))
		return complain("vdm_ring_open");

	char *from = vdm_region_address(from_region), *to = vdm_region_address(to_region);

	for (size_t i = 0; i < PIECES * PIECE; i++)
		from[i] = (char)(i * 7);
	if (submit_all(ring, to, from) != PIECES)
		return complain("vdm_ring_submit");

	/* Here the program can do something else. */

	for (unsigned i = 0; i < PIECES; i++) {
		struct vdm_cqe *cqe;

		if (vdm_ring_wait_cqe(ring, &cqe))
			return complain("vdm_ring_wait_cqe");
		if (cqe->result) {
			fprintf(stderr, "piece %u: %s\n", (unsigned)cqe->user_data,
				strerror(-cqe->result));
			return 1;
		}
		vdm_ring_cqe_seen(ring, cqe);
	}

	struct vdm_client_counters counters = {.size = sizeof counters};

	vdm_client_counters(client, &counters);
	uint64_t local =
		counters.local_small + counters.local_outside + counters.local_disconnected;

	printf("%zu bytes in %d pieces: %llu went to the daemon, %llu were copied here\n",
	       PIECES * PIECE, PIECES, (unsigned long long)counters.offloaded,
	       (unsigned long long)local);
	int wrong = memcmp(from, to, PIECES * PIECE) != 0;

	vdm_ring_close(ring);
	vdm_region_release(from_region);
	vdm_region_release(to_region);
	vdm_client_close(client);
	return wrong;
}
