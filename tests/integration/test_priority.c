/* SPDX-License-Identifier: BSD-3-Clause */
/* Of a user's rings, those of a higher priority go first. */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "cmocka_test.h"
#include "process_figures.h"
#include "ring_memory.h"
#include "ring_use.h"

#define SIZE 4096

struct turn {
	struct vdm_ring *ring;
	struct ring_memory shared;
};

static void open_ring(struct turn *turn, struct vdm_client *client, int32_t priority)
{
	turn->ring = ring_opened_in(client, 64, priority, &turn->shared);
}

/* Stop a daemon that polls both rings: a doorbell would decide which is first. */
static void freeze_polling(struct turn *a, struct turn *b)
{
	do {
		daemon_thaw();
		vdm_prep_nop(entry(a->ring));
		assert_int_equal(run_one(a->ring), 0);
		vdm_prep_nop(entry(b->ring));
		assert_int_equal(run_one(b->ring), 0);
		daemon_freeze();
	} while (!ring_is_polled(&a->shared) || !ring_is_polled(&b->shared));
}

static void fill(struct vdm_ring *ring, unsigned count, char *memory)
{
	for (unsigned i = 0; i < count; i++)
		vdm_prep_memcpy(entry(ring), memory + SIZE, memory, SIZE, 0);
}

/*
 * The ring of the higher priority has twice as much, and the daemon finds the operations of both
 * rings at once. If it served them in turns, the last operation of the other ring would not see
 * what the last one of this ring writes. (A few of the other ring may come first, since the daemon
 * may have been stopped between looking at the two rings.)
 */
static void first_goes_first(int32_t first, int32_t second)
{
	struct vdm_client *client = client_opened();
	struct vdm_region *region;
	char *memory = region_opened(client, 3 * SIZE, &region), *written = memory + 2 * SIZE;
	struct turn later, earlier;

	open_ring(&later, client, second);
	open_ring(&earlier, client, first);
	freeze_polling(&later, &earlier);
	uint64_t offloaded = counters_of(client).offloaded;

	fill(later.ring, 31, memory);
	vdm_prep_memcpy(entry(later.ring), written + 1, written, 1, 0);
	assert_int_equal(vdm_ring_submit(later.ring), 32);
	fill(earlier.ring, 63, memory);
	vdm_prep_memset(entry(earlier.ring), written, 1, 1, 0);
	assert_int_equal(vdm_ring_submit(earlier.ring), 64);
	daemon_thaw();
	for (unsigned i = 0; i < 32 + 64; i++) {
		struct vdm_ring *ring = i < 64 ? earlier.ring : later.ring;
		struct vdm_cqe *cqe;

		assert_int_equal(vdm_ring_wait_cqe(ring, &cqe), 0);
		assert_int_equal(cqe->result, 0);
		vdm_ring_cqe_seen(ring, cqe);
	}
	assert_int_equal(counters_of(client).offloaded - offloaded, 32 + 64);
	assert_int_equal(written[1], 1);
	vdm_ring_close(earlier.ring);
	vdm_ring_close(later.ring);
	vdm_region_release(region);
	vdm_client_close(client);
}

static void a_high_ring_goes_before_a_normal_one(void **state)
{
	(void)state;
	first_goes_first(VDM_PRIORITY_HIGH, VDM_PRIORITY_NORMAL);
}

static void a_normal_ring_goes_before_a_low_one(void **state)
{
	(void)state;
	first_goes_first(VDM_PRIORITY_NORMAL, VDM_PRIORITY_LOW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_high_ring_goes_before_a_normal_one),
		cmocka_unit_test(a_normal_ring_goes_before_a_low_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
