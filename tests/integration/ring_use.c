/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_use.h"

#include <errno.h>
#include <string.h>

#include "check.h"

struct vdm_client *client_opened_with(unsigned flags)
{
	const struct vdm_options options = {.size = sizeof options,
					    .flags = VDM_OPTION_REQUIRE_DAEMON | flags,
					    .offload_threshold = 1};
	struct vdm_client *client = NULL;
	int result = vdm_client_open(&options, &client);

	CHECK(result == 0, "opening a client: %s", strerror(-result));
	return client;
}

struct vdm_client *client_opened(void)
{
	return client_opened_with(0);
}

struct vdm_client_counters counters_of(struct vdm_client *client)
{
	struct vdm_client_counters counters = {.size = sizeof counters};
	int result = vdm_client_counters(client, &counters);

	CHECK(result == 0, "reading the counters: %s", strerror(-result));
	return counters;
}

struct vdm_ring *ring_opened(struct vdm_client *client, uint32_t entries, uint32_t first_sequence)
{
	const struct vdm_options options = {
		.size = sizeof options, .entries = entries, .first_sequence = first_sequence};
	struct vdm_ring *ring = NULL;
	int result = vdm_ring_open(client, &options, &ring);

	CHECK(result == 0, "opening a ring: %s", strerror(-result));
	return ring;
}

char *region_opened(struct vdm_client *client, size_t bytes, struct vdm_region **region)
{
	int result = vdm_region_alloc(client, bytes, region);

	CHECK(result == 0, "allocating a region of %zu bytes: %s", bytes, strerror(-result));
	return vdm_region_address(*region);
}

struct vdm_sqe *entry(struct vdm_ring *ring)
{
	struct vdm_sqe *sqe = vdm_ring_get_sqe(ring);

	CHECK(sqe, "no entry although %u should be left", vdm_ring_space_left(ring));
	return sqe;
}

int32_t run_one(struct vdm_ring *ring)
{
	struct vdm_cqe *cqe;
	int result = vdm_ring_submit(ring);

	CHECK(result == 1, "submitting one: %d", result);
	result = vdm_ring_wait_cqe(ring, &cqe);
	CHECK(result == 0, "waiting for one: %s", strerror(-result));
	result = cqe->result;
	vdm_ring_cqe_seen(ring, cqe);
	return result;
}

void run_all(struct vdm_ring *ring, unsigned count, int32_t *results, unsigned *order)
{
	unsigned char seen[4096] = {0};
	int result = vdm_ring_submit(ring);

	CHECK(count <= sizeof seen, "%u operations", count);
	CHECK(result >= 0, "submitting: %s", strerror(-result));
	for (unsigned n = 0; n < count; n++) {
		struct vdm_cqe *cqe;

		result = vdm_ring_wait_cqe(ring, &cqe);
		CHECK(result == 0, "waiting for completion %u: %s", n, strerror(-result));
		CHECK(cqe->user_data < count, "user_data %llu", (unsigned long long)cqe->user_data);
		CHECK(!seen[cqe->user_data]++, "operation %u completed twice",
		      (unsigned)cqe->user_data);
		if (results)
			results[cqe->user_data] = cqe->result;
		if (order)
			order[n] = (unsigned)cqe->user_data;
		vdm_ring_cqe_seen(ring, cqe);
	}
	struct vdm_cqe *surplus;

	CHECK(vdm_ring_peek_cqe(ring, &surplus) == -EAGAIN, "a completion too many");
}
