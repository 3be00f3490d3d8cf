/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every alignment of source and destination, and every overlap of memmove, byte by byte against the
 * C library: for each length of interest, with cached stores and with stores around the cache.
 */
#include <string.h>

#include "check.h"
#include "cmocka_test.h"
#include "ring_use.h"
#include "scale.h"

#define ENTRIES     256
#define OFFSETS     64
#define SLOT        ((size_t)16 << 10) /* of each operation of a batch */
#define MARGIN      128                /* bytes around a destination that must not change */
#define MAX_OVERLAP 4096

static const size_t lengths[] = {0,  1,  2,   7,   15,  16,  17,   31,   32,   33,  63,
				 64, 65, 127, 129, 255, 257, 1000, 4095, 4096, 4097};
static const unsigned flags[] = {0, VDM_SQE_NO_CACHE};

static struct vdm_client *client;
static struct vdm_ring *ring;
static struct vdm_region *source_region, *dest_region;
static unsigned char *source, *dest;
static unsigned char expected[4 * MARGIN + 65536];

/* Bytes without a short period, different at each distance that matters here. */
static void fill(unsigned char *memory, size_t n, uint32_t seed)
{
	uint32_t x = seed * 2654435761u + 1;

	for (size_t i = 0; i < n; i++) {
		x = x * 1664525u + 1013904223u;
		memory[i] = (unsigned char)(x >> 24);
	}
}

static int set_up(void **state)
{
	(void)state;
	client = client_opened();
	ring = ring_opened(client, ENTRIES, 0);
	source = (unsigned char *)region_opened(client, ENTRIES * SLOT, &source_region);
	dest = (unsigned char *)region_opened(client, ENTRIES * SLOT, &dest_region);
	fill(source, ENTRIES * SLOT, 1);
	return 0;
}

static int tear_down(void **state)
{
	struct vdm_client_counters counters = counters_of(client);

	(void)state;
	vdm_ring_close(ring);
	vdm_region_release(source_region);
	vdm_region_release(dest_region);
	vdm_client_close(client);
	/* otherwise this would have tested the local lane */
	return counters.local_outside + counters.local_small + counters.local_disconnected ? -1 : 0;
}

static void run_batch(unsigned count)
{
	int32_t results[ENTRIES];

	run_all(ring, count, results, NULL);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(results[i], 0);
}

/* One batch: all source offsets for four destination offsets. */
static void copy_alignments(size_t length, unsigned flag, unsigned first_offset)
{
	for (unsigned i = 0; i < ENTRIES; i++) {
		unsigned char *slot = dest + i * SLOT;
		struct vdm_sqe *sqe = entry(ring);

		memset(slot, 0xee, length + OFFSETS + 2 * MARGIN);
		vdm_prep_memcpy(sqe, slot + MARGIN + first_offset + i / OFFSETS,
				source + i * 64 + i % OFFSETS, length, flag);
		sqe->user_data = i;
	}
	run_batch(ENTRIES);
	for (unsigned i = 0; i < ENTRIES; i++) {
		memset(expected, 0xee, length + OFFSETS + 2 * MARGIN);
		memcpy(expected + MARGIN + first_offset + i / OFFSETS,
		       source + i * 64 + i % OFFSETS, length);
		assert_memory_equal(dest + i * SLOT, expected, length + OFFSETS + 2 * MARGIN);
	}
}

static void all_alignments_of_copies(void **state)
{
	(void)state;
	for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
		for (unsigned f = 0; f < 2; f++)
			for (unsigned offset = 0; offset < OFFSETS; offset += ENTRIES / OFFSETS)
				copy_alignments(lengths[l], flags[f], offset);
}

static void all_alignments_of_sets(void **state)
{
	(void)state;
	for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
		for (unsigned f = 0; f < 2; f++) {
			size_t extent = lengths[l] + OFFSETS + 2 * MARGIN;

			for (unsigned i = 0; i < OFFSETS; i++) {
				struct vdm_sqe *sqe = entry(ring);

				memset(dest + i * SLOT, 0xee, extent);
				/* the value is converted to unsigned char, as by memset(3) */
				vdm_prep_memset(sqe, dest + i * SLOT + MARGIN + i, (int)i - 256,
						lengths[l], flags[f]);
				sqe->user_data = i;
			}
			run_batch(OFFSETS);
			for (unsigned i = 0; i < OFFSETS; i++) {
				memset(expected, 0xee, extent);
				memset(expected + MARGIN + i, (int)i, lengths[l]);
				assert_memory_equal(dest + i * SLOT, expected, extent);
			}
		}
	}
}

/* Overlaps `from` to `from + count - 1`, in slots large enough for both ranges. */
static void move_overlaps(int from, unsigned count, size_t length, unsigned flag, uint8_t opcode)
{
	size_t slot = length + 2 * MAX_OVERLAP + 2 * MARGIN;

	for (unsigned i = 0; i < count; i++) {
		unsigned char *base = dest + i * slot + MARGIN + MAX_OVERLAP;
		struct vdm_sqe *sqe = entry(ring);

		fill(dest + i * slot, slot, i);
		vdm_prep_memmove(sqe, base + (from + (int)i), base, length, flag);
		sqe->opcode = opcode;
		sqe->user_data = i;
	}
	run_batch(count);
	for (unsigned i = 0; i < count; i++) {
		unsigned char *base = expected + MARGIN + MAX_OVERLAP;

		fill(expected, slot, i);
		memmove(base + (from + (int)i), base, length);
		assert_memory_equal(dest + i * slot, expected, slot);
	}
}

static void overlaps_of_length(size_t length, unsigned flag, uint8_t opcode)
{
	size_t slot = length + 2 * MAX_OVERLAP + 2 * MARGIN;
	unsigned batch = (unsigned)(ENTRIES * SLOT / slot);

	if (batch > ENTRIES)
		batch = ENTRIES;
	for (int from = -MAX_OVERLAP; from <= MAX_OVERLAP; from += (int)batch) {
		unsigned left = (unsigned)(MAX_OVERLAP - from) + 1;

		move_overlaps(from, left < batch ? left : batch, length, flag, opcode);
	}
}

/* 17 and 20 thousand bytes are cut into pieces by the daemon, the others are not. */
static void all_overlaps_of_memmove(void **state)
{
	static const size_t few[] = {1, 64, 100, 4096, 20000};

	(void)state;
	for (size_t l = 0; l < sizeof few / sizeof *few; l++)
		for (unsigned f = 0; f < 2; f++)
			overlaps_of_length(few[l], flags[f], VDM_OP_MEMMOVE);
}

/* A memcpy that overlaps is a memmove here; see libvdm/ring.h. */
static void all_overlaps_of_memcpy(void **state)
{
	(void)state;
	overlaps_of_length(1000, 0, VDM_OP_MEMCPY);
	overlaps_of_length(17000, VDM_SQE_NO_CACHE, VDM_OP_MEMCPY);
}

/* Many pieces, that have to follow each other in the right direction. */
static void large_overlaps_of_memmove(void **state)
{
	static const size_t distances[] = {1,     63,    64,     4095,   4096,   65535,
					   65536, 65537, 524287, 524288, 524289, 1500000};
	const size_t length = ((size_t)3 << 19) + 77;
	unsigned char *model = expected;
	struct vdm_region *region;

	(void)state;
	/* the model is a copy of the bytes before the operations, which only this test writes */
	model = (unsigned char *)region_opened(client, 2 * length, &region);
	for (size_t i = 0; i < 4 * (sizeof distances / sizeof *distances); i++) {
		size_t distance = distances[i / 4];
		size_t from = i % 2 ? distance : 0, to = i % 2 ? 0 : distance;

		fill(dest, 2 * length, (uint32_t)i);
		memcpy(model, dest, 2 * length);
		vdm_prep_memmove(entry(ring), dest + to, dest + from, length, i & 2 ? flags[1] : 0);
		assert_int_equal(run_one(ring), 0);
		assert_memory_equal(dest + to, model + from, length);
		assert_memory_equal(dest, model, to);
		assert_memory_equal(dest + to + length, model + to + length, length - to);
	}
	vdm_region_release(region);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_alignments_of_copies),
		cmocka_unit_test(all_alignments_of_sets),
		cmocka_unit_test(all_overlaps_of_memmove),
		cmocka_unit_test(all_overlaps_of_memcpy),
		cmocka_unit_test(large_overlaps_of_memmove),
	};

	scale_from_arguments(argc, argv);
	guard_against_hanging(120);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
