/* SPDX-License-Identifier: BSD-3-Clause */
/* Positions are 32-bit counts that wrap: rings that begin just below the wrap work like any other.
 */
#include "check.h"
#include "cmocka_test.h"
#include "ring_use.h"
#include "scale.h"

#define BYTES 4096

/* Below the wrap of unsigned and of signed numbers, far and near, aligned to the ring or not. */
static const uint32_t starts[] = {0xffffff00, 0xfffffff0, 0xfffffffe, 0xffffffff, 0xffff8000,
				  0x7fffff00, 0x7ffffffe, 0x7fffffff, 0x80000000, 1};

static struct vdm_client *client;
static struct vdm_region *region;
static char *memory;

static int set_up(void **state)
{
	(void)state;
	client = client_opened();
	memory = region_opened(client, 2 * BYTES, &region);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	vdm_region_release(region);
	vdm_client_close(client);
	return 0;
}

/* Operations in batches of changing size, so that a batch begins at every slot sooner or later. */
static void run_past_the_wrap(struct vdm_ring *ring, uint32_t position, char *dest)
{
	unsigned entries = vdm_ring_entries(ring);
	uint32_t stop = position + 6 * entries + 600;

	for (unsigned round = 0; (int32_t)(stop - position) > 0; round++) {
		unsigned batch = 1 + (round * 7) % entries;
		struct vdm_cqe *cqe;
		uint32_t seen = 0;

		for (unsigned i = 0; i < batch; i++) {
			struct vdm_sqe *sqe = entry(ring);

			vdm_prep_memset(sqe, dest + (position + i) % BYTES, (int)(position + i), 1,
					0);
			sqe->user_data = position + i;
		}
		assert_int_equal(vdm_ring_submit(ring), batch);
		for (unsigned i = 0; i < batch; i++) {
			assert_int_equal(vdm_ring_wait_cqe(ring, &cqe), 0);
			assert_int_equal(cqe->result, 0);
			/* small ones complete in order, and each carries the position it was given
			 */
			assert_int_equal(cqe->operation, (uint32_t)cqe->user_data);
			seen += (uint32_t)cqe->user_data - position;
			vdm_ring_cqe_seen(ring, cqe);
		}
		assert_int_equal(seen, batch * (batch - 1) / 2);
		for (unsigned i = batch > BYTES ? batch - BYTES : 0; i < batch; i++)
			assert_int_equal((unsigned char)dest[(position + i) % BYTES],
					 (position + i) & 0xff);
		position += batch;
	}
}

static void sequence_numbers_wrap_in_offloaded_operations(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
		for (unsigned entries = 2; entries <= 4096; entries *= 8) {
			struct vdm_ring *ring = ring_opened(client, entries, starts[i]);

			run_past_the_wrap(ring, starts[i], memory);
			vdm_ring_close(ring);
		}
	}
	assert_int_equal(counters_of(client).local_outside, 0);
}

static void sequence_numbers_wrap_in_local_operations(void **state)
{
	char heap[BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
		for (unsigned entries = 2; entries <= 4096; entries *= 8) {
			struct vdm_ring *ring = ring_opened(client, entries, starts[i]);

			run_past_the_wrap(ring, starts[i], heap);
			vdm_ring_close(ring);
		}
	}
}

static void sequence_numbers_wrap_while_lanes_are_mixed(void **state)
{
	char heap[64];

	(void)state;
	for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
		struct vdm_ring *ring = ring_opened(client, 16, starts[i]);

		for (unsigned round = 0; round < 100; round++) {
			for (unsigned n = 0; n < 1 + round % 16; n++) {
				struct vdm_sqe *sqe = entry(ring);

				vdm_prep_memset(sqe, (n + round) % 3 ? memory + n : heap + n, 1, 1,
						0);
				sqe->user_data = n;
			}
			run_all(ring, 1 + round % 16, NULL, NULL);
		}
		vdm_ring_close(ring);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sequence_numbers_wrap_in_offloaded_operations),
		cmocka_unit_test(sequence_numbers_wrap_in_local_operations),
		cmocka_unit_test(sequence_numbers_wrap_while_lanes_are_mixed),
	};

	guard_against_hanging(60);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
