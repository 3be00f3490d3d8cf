/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "op/kernels.h"

/* Bytes around the destination that must stay as they are. */
#define MARGIN 128

static unsigned char *pattern(size_t n, unsigned seed)
{
	unsigned char *bytes = malloc(n);

	for (size_t i = 0; i < n; i++)
		bytes[i] = (unsigned char)(i * 131 + (i >> 8) + seed);
	return bytes;
}

static const size_t sizes[] = {0,    1,    63,   64,   65,    127,   4095,  4096,
			       4097, 8191, 8192, 8200, 65535, 65536, 100001};
#define SIZES (sizeof sizes / sizeof *sizes)

/* Streaming has a head, a body and a tail: all alignments of both sides against each other. */
static void copy_moves_exactly_the_bytes_at_every_alignment(void **state)
{
	(void)state;
	for (size_t s = 0; s < SIZES; s++) {
		size_t n = sizes[s];
		unsigned char *src = pattern(n + 64, 1);
		unsigned char *dest = malloc(n + 64 + 2 * MARGIN);

		for (size_t to = 0; to<64; to += n> 9000 ? 21 : 1) {
			for (size_t from = 0; from < 64; from += 13) {
				memset(dest, 0xa5, n + 64 + 2 * MARGIN);
				unsigned char *d = dest + MARGIN + to;

				assert_ptr_equal(kernels_default()->copy(d, src + from, n,
									 KERNEL_NO_CACHE),
						 d);
				assert_memory_equal(d, src + from, n);
				for (size_t i = 0; i < MARGIN; i++) {
					assert_int_equal(d[-1 - (long)i], 0xa5);
					assert_int_equal(d[n + i], 0xa5);
				}
			}
		}
		free(src);
		free(dest);
	}
}

static void set_fills_exactly_the_bytes_at_every_alignment(void **state)
{
	(void)state;
	for (size_t s = 0; s < SIZES; s++) {
		size_t n = sizes[s];
		unsigned char *dest = malloc(n + 64 + 2 * MARGIN);

		for (size_t to = 0; to<64; to += n> 9000 ? 21 : 1) {
			memset(dest, 0xa5, n + 64 + 2 * MARGIN);
			unsigned char *d = dest + MARGIN + to;

			assert_ptr_equal(kernels_default()->set(d, 0x1c3, n, KERNEL_NO_CACHE), d);
			for (size_t i = 0; i < n; i++)
				assert_int_equal(d[i], 0xc3);
			for (size_t i = 0; i < MARGIN; i++) {
				assert_int_equal(d[-1 - (long)i], 0xa5);
				assert_int_equal(d[n + i], 0xa5);
			}
		}
		free(dest);
	}
}

static void move_keeps_its_meaning_when_ranges_overlap(void **state)
{
	static const long distances[] = {-8192, -4097, -65, -64, -63,  -1,  0,
					 1,     63,    64,  65,  4097, 8192};
	size_t n = 8192, room = 3 * 8192;

	(void)state;
	for (size_t i = 0; i < sizeof distances / sizeof *distances; i++) {
		unsigned char *have = pattern(room, 3), *want = pattern(room, 3);

		memmove(want + 8192 + distances[i], want + 8192, n);
		kernels_default()->move(have + 8192 + distances[i], have + 8192, n,
					KERNEL_NO_CACHE);
		assert_memory_equal(have, want, room);
		free(have);
		free(want);
	}
}

/* The size from which stores go around the cache by themselves. */
static void copies_larger_than_the_threshold_are_right_too(void **state)
{
	size_t n = kernels_streaming_threshold() + 4099;
	unsigned char *src = pattern(n, 5), *dest = malloc(n);

	(void)state;
	kernels_default()->copy(dest, src, n, 0);
	assert_memory_equal(dest, src, n);
	kernels_default()->set(dest, 7, n, 0);
	for (size_t i = 0; i < n; i++)
		if (dest[i] != 7)
			fail_msg("byte %zu is %u", i, dest[i]);
	free(src);
	free(dest);
}

static void threshold_is_a_size_that_a_cache_can_have(void **state)
{
	(void)state;
	assert_in_range(kernels_streaming_threshold(), 64 << 10, (size_t)1 << 30);
	assert_non_null(kernels_streaming_name());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copy_moves_exactly_the_bytes_at_every_alignment),
		cmocka_unit_test(set_fills_exactly_the_bytes_at_every_alignment),
		cmocka_unit_test(move_keeps_its_meaning_when_ranges_overlap),
		cmocka_unit_test(copies_larger_than_the_threshold_are_right_too),
		cmocka_unit_test(threshold_is_a_size_that_a_cache_can_have),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
