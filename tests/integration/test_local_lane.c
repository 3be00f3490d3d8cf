/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations that stay in this process: without a daemon, too small, or in memory of any kind. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "cmocka_test.h"
#include "ring_use.h"
#include "scale.h"

static char global[4096];
static const char constant[] = "read-only data is a valid source";

static struct vdm_client *opened(const struct vdm_options *options)
{
	struct vdm_client *client = NULL;

	assert_int_equal(vdm_client_open(options, &client), 0);
	assert_non_null(client);
	return client;
}

static struct vdm_client_info info_of(struct vdm_client *client)
{
	struct vdm_client_info info = {.size = sizeof info};

	assert_int_equal(vdm_client_info(client, &info), 0);
	return info;
}

/* One operation on each kind of memory; returns how many, and how many bytes. */
static unsigned use_all_kinds_of_memory(struct vdm_client *client, uint64_t *bytes)
{
	struct vdm_ring *ring = ring_opened(client, 16, 0);
	char stack[200], *heap = malloc(300);
	int32_t results[6];
	unsigned n = 0;

	assert_non_null(heap);
	vdm_prep_memcpy(entry(ring), stack, constant, sizeof constant, 0);
	assert_int_equal(run_one(ring), 0);
	assert_string_equal(stack, constant);
	vdm_prep_memset(entry(ring), global, 'x', sizeof global, 0);
	assert_int_equal(run_one(ring), 0);
	vdm_prep_memcpy(entry(ring), heap, global, 300, 0);
	assert_int_equal(run_one(ring), 0);
	assert_memory_equal(heap, global, 300);
	vdm_prep_memmove(entry(ring), heap + 1, heap, 299, 0);
	assert_int_equal(run_one(ring), 0);
	*bytes = sizeof constant + sizeof global + 300 + 299;

	for (; n < 6; n++) {
		struct vdm_sqe *sqe = entry(ring);

		vdm_prep_memset(sqe, heap + n, (int)n, 1, 0);
		sqe->user_data = n;
	}
	*bytes += 6;
	run_all(ring, 6, results, NULL);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(results[i], 0);
		assert_int_equal(heap[i], i);
	}
	free(heap);
	vdm_ring_close(ring);
	return 4 + n;
}

static void without_a_daemon_everything_runs_here(void **state)
{
	const struct vdm_options options = {
		.size = sizeof options, .socket = "/nonexistent/vdmd.sock", .offload_threshold = 1};
	struct vdm_client *client = opened(&options);
	struct vdm_region *region;
	uint64_t bytes;

	(void)state;
	assert_int_equal(info_of(client).connected, 0);
	assert_int_equal(info_of(client).error, -ENOENT);
	unsigned count = use_all_kinds_of_memory(client, &bytes);
	struct vdm_client_counters counters = counters_of(client);

	assert_int_equal(counters.local_disconnected, count);
	assert_int_equal(counters.local_bytes, bytes);
	assert_int_equal(counters.offloaded + counters.local_small + counters.local_outside, 0);
	/* regions are ordinary memory then */
	struct vdm_ring *ring = ring_opened(client, 2, 0);
	char *memory = region_opened(client, 10000, &region);

	vdm_prep_memset(entry(ring), memory, 3, 10000, 0);
	assert_int_equal(run_one(ring), 0);
	assert_int_equal(memory[9999], 3);
	assert_int_equal(counters_of(client).local_disconnected, count + 1);
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
}

static void local_only_does_not_look_for_a_daemon(void **state)
{
	const struct vdm_options options = {.size = sizeof options, .flags = VDM_OPTION_LOCAL_ONLY};
	struct vdm_client *client = opened(&options);
	uint64_t bytes;

	(void)state;
	assert_int_equal(info_of(client).connected, 0);
	unsigned count = use_all_kinds_of_memory(client, &bytes);

	assert_int_equal(counters_of(client).local_disconnected, count);
	vdm_client_close(client);
}

static void outside_of_regions_it_runs_here(void **state)
{
	struct vdm_client *client = client_opened();
	uint64_t bytes;

	(void)state;
	assert_int_equal(info_of(client).connected, 1);
	assert_int_equal(info_of(client).error, 0);
	unsigned count = use_all_kinds_of_memory(client, &bytes);
	struct vdm_client_counters counters = counters_of(client);

	assert_int_equal(counters.local_outside, count);
	assert_int_equal(counters.local_bytes, bytes);
	assert_int_equal(counters.offloaded + counters.local_small + counters.local_disconnected,
			 0);
	vdm_client_close(client);
}

static void partly_outside_is_outside(void **state)
{
	struct vdm_client *client = client_opened();
	struct vdm_ring *ring = ring_opened(client, 4, 0);
	struct vdm_region *region;
	char *memory = region_opened(client, 4096, &region);
	char heap[64];

	(void)state;
	vdm_prep_memcpy(entry(ring), heap, memory, 64, 0);
	assert_int_equal(run_one(ring), 0);
	vdm_prep_memcpy(entry(ring), memory, heap, 64, 0);
	assert_int_equal(run_one(ring), 0);
	assert_int_equal(counters_of(client).local_outside, 2);
	assert_int_equal(counters_of(client).offloaded, 0);
	vdm_prep_memcpy(entry(ring), memory, memory + 64, 64, 0);
	assert_int_equal(run_one(ring), 0);
	assert_int_equal(counters_of(client).offloaded, 1);
	assert_int_equal(counters_of(client).offloaded_bytes, 64);
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
}

static void below_the_threshold_it_runs_here(void **state)
{
	const struct vdm_options options = {.size = sizeof options,
					    .flags = VDM_OPTION_REQUIRE_DAEMON,
					    .offload_threshold = 1000};
	struct vdm_client *client = opened(&options);
	struct vdm_ring *ring = ring_opened(client, 4, 0);
	struct vdm_region *region;
	char *memory = region_opened(client, 4096, &region);

	(void)state;
	assert_int_equal(info_of(client).offload_threshold, 1000);
	vdm_prep_memset(entry(ring), memory, 1, 999, 0);
	assert_int_equal(run_one(ring), 0);
	assert_int_equal(counters_of(client).local_small, 1);
	assert_int_equal(counters_of(client).local_bytes, 999);
	vdm_prep_memset(entry(ring), memory, 2, 1000, 0);
	assert_int_equal(run_one(ring), 0);
	assert_int_equal(counters_of(client).local_small, 1);
	assert_int_equal(counters_of(client).offloaded, 1);
	assert_int_equal(counters_of(client).offloaded_bytes, 1000);
	/* a ring may have a threshold of its own */
	const struct vdm_options own = {.size = sizeof own, .offload_threshold = 1};
	struct vdm_ring *eager;

	assert_int_equal(vdm_ring_open(client, &own, &eager), 0);
	vdm_prep_memset(entry(eager), memory, 3, 1, 0);
	assert_int_equal(run_one(eager), 0);
	assert_int_equal(counters_of(client).offloaded, 2);
	vdm_ring_close(eager);
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
}

static void a_daemon_that_is_required_and_missing_is_an_error(void **state)
{
	const struct vdm_options options = {.size = sizeof options,
					    .socket = "/nonexistent/vdmd.sock",
					    .flags = VDM_OPTION_REQUIRE_DAEMON};
	struct vdm_client *client = NULL;

	(void)state;
	assert_int_equal(vdm_client_open(&options, &client), -ENOENT);
	assert_null(client);
	assert_non_null(strstr(vdm_last_error(), "/nonexistent/vdmd.sock"));
}

static void bad_options_are_refused(void **state)
{
	static const struct vdm_options bad[] = {
		{.size = 0},
		{.size = sizeof *bad, .flags = 1u << 31},
		{.size = sizeof *bad, .flags = VDM_OPTION_VALID_FLAGS}, /* contradict each other */
		{.size = sizeof *bad, .entries = 3},
		{.size = sizeof *bad, .entries = 1},
		{.size = sizeof *bad, .entries = 8192},
	};
	const struct vdm_options unknown = {.size = sizeof unknown, .features = 1ull << 63};
	struct vdm_client *client = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(vdm_client_open(&bad[i], &client), -EINVAL);
		assert_true(strlen(vdm_last_error()) > 10);
	}
	assert_int_equal(vdm_client_open(&unknown, &client), -EOPNOTSUPP);
	assert_null(client);
}

/* A program built when the structure was shorter. */
static void short_options_take_defaults(void **state)
{
	struct vdm_options options;
	struct vdm_client *client;

	(void)state;
	memset(&options, 0xff, sizeof options); /* what lies behind the caller's structure */
	options.size = offsetof(struct vdm_options, flags);
	options.socket = NULL;
	client = opened(&options);
	assert_int_equal(info_of(client).connected, 1);
	vdm_client_close(client);
}

/* One built when it was longer may not ask for what this library does not know. */
static void long_options_may_only_add_zeros(void **state)
{
	struct {
		struct vdm_options options;
		uint64_t later;
	} longer = {.options = {.size = sizeof longer}};
	struct vdm_client *client;

	(void)state;
	client = opened(&longer.options);
	vdm_client_close(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_daemon_everything_runs_here),
		cmocka_unit_test(local_only_does_not_look_for_a_daemon),
		cmocka_unit_test(outside_of_regions_it_runs_here),
		cmocka_unit_test(partly_outside_is_outside),
		cmocka_unit_test(below_the_threshold_it_runs_here),
		cmocka_unit_test(a_daemon_that_is_required_and_missing_is_an_error),
		cmocka_unit_test(bad_options_are_refused),
		cmocka_unit_test(short_options_take_defaults),
		cmocka_unit_test(long_options_may_only_add_zeros),
	};

	guard_against_hanging(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
