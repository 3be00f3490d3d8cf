/* SPDX-License-Identifier: BSD-3-Clause */
/* What a user may have, as a program sees it. The daemon refuses the rest, names the limit, and
 * disturbs nothing else. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "cmocka_test.h"
#include "process_figures.h"
#include "ring_use.h"
#include "scale.h"

#define LARGE ((size_t)1 << 20) /* more than in_flight_bytes_per_user of the test's daemon */

static void too_many_bytes_in_flight_fail_alone(void **state)
{
	struct vdm_client *client = client_opened();
	struct vdm_ring *ring = ring_opened(client, 8, 0);
	struct vdm_region *region;
	char *memory = region_opened(client, 2 * LARGE, &region);

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		memset(memory, 'a' + (int)i, LARGE);
		vdm_prep_memcpy(entry(ring), memory + LARGE, memory, LARGE, VDM_SQE_FENCE);
		assert_int_equal(run_one(ring), -EDQUOT);
		vdm_prep_memcpy(entry(ring), memory + LARGE, memory, LARGE / 8, VDM_SQE_FENCE);
		assert_int_equal(run_one(ring), 0);
		assert_memory_equal(memory, memory + LARGE, LARGE / 8);
	}
	assert_int_equal(daemon_figures().violated, 0);
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
}

static void entries_and_descriptors_are_counted_over_all_rings(void **state)
{
	struct vdm_client *client = client_opened();
	struct vdm_options options = {.size = sizeof options, .entries = 64};
	struct vdm_ring *first = ring_opened(client, 64, 0), *second;

	(void)state;
	assert_int_equal(vdm_ring_open(client, &options, &second), -EDQUOT); /* 100 in all */
	assert_non_null(strstr(vdm_last_error(), "entries_per_user"));
	vdm_ring_close(first);
	assert_int_equal(vdm_ring_open(client, &options, &first), 0);

	/* 12 in all: the session's two, two for each ring that has been started, and four for the
	 * next one. And the files of those, until they have been closed. */
	unsigned most = 0;

	options.entries = 2;
	while (most < 3) {
		struct vdm_ring *small[16];
		unsigned count = 0;

		while (count < 16 && vdm_ring_open(client, &options, &small[count]) == 0)
			count++;
		assert_non_null(strstr(vdm_last_error(), "descriptors_per_user"));
		assert_true(count <= 3);
		most = count;
		while (count > 0)
			vdm_ring_close(small[--count]);
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	vdm_ring_close(first);
	vdm_client_close(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(too_many_bytes_in_flight_fail_alone),
		cmocka_unit_test(entries_and_descriptors_are_counted_over_all_rings),
	};

	guard_against_hanging(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
