/* SPDX-License-Identifier: BSD-3-Clause */
/* Of a user's rings, those of a higher priority go first. */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "cmocka_test.h"
#include "process_figures.h"
#include "ring_use.h"

#define SIZE 4096

static struct vdm_ring *ring_of_priority(struct vdm_client *client, int32_t priority)
{
	const struct vdm_options options = {.size = sizeof options, .entries = 64, .priority = priority};
	struct vdm_ring *ring;

	assert_int_equal(vdm_ring_open(client, &options, &ring), 0);
	/* from now on it is polled: the test's daemon does so for as long as a test takes */
	vdm_prep_nop(entry(ring));
	assert_int_equal(run_one(ring), 0);
	return ring;
}

static void fill(struct vdm_ring *ring, unsigned count, char *memory)
{
	for (unsigned i = 0; i < count; i++)
		vdm_prep_memcpy(entry(ring), memory + SIZE, memory, SIZE, 0);
}

/*
 * Twice as much in the ring that is to go first, and both are there when the daemon looks: if they went in turns, the
 * last operation of the other would not see what the last one of this writes. (A few of the other may come first: the
 * daemon may have been stopped just between looking at the one and at the other.)
 */
static void first_goes_first(int32_t first, int32_t second)
{
	struct vdm_client *client = client_opened();
	struct vdm_region *region;
	char *memory = region_opened(client, 3 * SIZE, &region), *written = memory + 2 * SIZE;
	struct vdm_ring *later = ring_of_priority(client, second), *earlier = ring_of_priority(client, first);

	daemon_freeze();
	fill(later, 31, memory);
	vdm_prep_memcpy(entry(later), written + 1, written, 1, 0);
	assert_int_equal(vdm_ring_submit(later), 32);
	fill(earlier, 63, memory);
	vdm_prep_memset(entry(earlier), written, 1, 1, 0);
	assert_int_equal(vdm_ring_submit(earlier), 64);
	daemon_thaw();
	for (unsigned i = 0; i < 32 + 64; i++) {
		struct vdm_ring *ring = i < 64 ? earlier : later;
		struct vdm_cqe *cqe;

		assert_int_equal(vdm_ring_wait_cqe(ring, &cqe), 0);
		assert_int_equal(cqe->result, 0);
		vdm_ring_cqe_seen(ring, cqe);
	}
	assert_int_equal(counters_of(client).offloaded, 2 + 32 + 64);
	assert_int_equal(written[1], 1);
	vdm_ring_close(earlier);
	vdm_ring_close(later);
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
