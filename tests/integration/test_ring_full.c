/* SPDX-License-Identifier: BSD-3-Clause */
/* I2 as the library keeps it: a full ring says so, and loses nothing. */
#include "check.h"
#include "cmocka_test.h"
#include "process_figures.h"
#include "ring_use.h"
#include "scale.h"

static struct vdm_client *client;
static struct vdm_region *region;
static char *memory;

static int set_up(void **state)
{
	(void)state;
	client = client_opened();
	memory = region_opened(client, 1 << 20, &region);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	vdm_region_release(region);
	vdm_client_close(client);
	return 0;
}

static void fill(struct vdm_ring *ring, unsigned entries)
{
	assert_int_equal(vdm_ring_space_left(ring), entries);
	for (unsigned i = 0; i < entries; i++) {
		struct vdm_sqe *sqe = entry(ring);

		vdm_prep_memset(sqe, memory + i * 64, (int)i, 64, 0);
		sqe->user_data = i;
	}
	assert_int_equal(vdm_ring_space_left(ring), 0);
	assert_null(vdm_ring_get_sqe(ring));
}

static void i2_full_ring_gives_null_and_drops_nothing(void **state)
{
	(void)state;
	for (unsigned entries = 2; entries <= 4096; entries *= 2) {
		struct vdm_ring *ring = ring_opened(client, entries, 0);

		assert_int_equal(vdm_ring_entries(ring), entries);
		for (unsigned lap = 0; lap < 3; lap++) {
			/* With the daemon stopped nothing can complete meanwhile. */
			daemon_freeze();
			fill(ring, entries);
			assert_int_equal(vdm_ring_submit(ring), entries);
			assert_null(vdm_ring_get_sqe(ring));
			assert_int_equal(vdm_ring_submit(ring), 0);
			daemon_thaw();
			run_all(ring, entries, NULL, NULL);
			for (unsigned i = 0; i < entries * 64; i++)
				assert_int_equal((unsigned char)memory[i], (i / 64) & 0xff);
		}
		vdm_ring_close(ring);
	}
}

static void i2_each_completion_seen_makes_room_for_one(void **state)
{
	struct vdm_ring *ring = ring_opened(client, 8, 0);
	struct vdm_cqe *cqes[8];

	(void)state;
	fill(ring, 8);
	assert_int_equal(vdm_ring_submit(ring), 8);
	assert_int_equal(vdm_ring_wait_cqes(ring, cqes, 8, NULL), 0);
	/* complete, but not seen: their memory is still the caller's to read */
	assert_null(vdm_ring_get_sqe(ring));
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(cqes[i]->user_data, i);
	for (unsigned i = 1; i <= 8; i++) {
		vdm_ring_cq_advance(ring, 1);
		assert_int_equal(vdm_ring_space_left(ring), i);
	}
	vdm_ring_close(ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(i2_full_ring_gives_null_and_drops_nothing),
		cmocka_unit_test(i2_each_completion_seen_makes_room_for_one),
	};

	guard_against_hanging(60);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
