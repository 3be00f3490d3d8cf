/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * I1: submitting one operation dirties one cache line, completing it dirties one, and marking it
 * seen none. Measured by comparing all of a ring's shared memory before and after. Runs against a
 * daemon that polls for a second, so that no doorbell comes in between.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "cmocka_test.h"
#include "ring_use.h"
#include "scale.h"

#define LINE    64
#define ENTRIES 64
#define ROUNDS  (3 * ENTRIES)

struct shared_file {
	char *memory;
	size_t size;
	char *before;
	int writable;
};

static struct vdm_client *client;
static struct vdm_ring *ring;
static struct vdm_region *region;
static char *memory;
static struct shared_file submission, completion;

/* Mappings of memory files from `first` on; returns how many there are. */
static unsigned memfd_mappings(struct shared_file *files, unsigned room)
{
	char line[512], permissions[5];
	unsigned count = 0;
	FILE *maps = fopen("/proc/self/maps", "re");

	assert_non_null(maps);
	while (fgets(line, sizeof line, maps)) {
		uintptr_t from, to;

		if (!strstr(line, "/memfd:") ||
		    sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, permissions) != 3)
			continue;
		if (count < room)
			files[count] = (struct shared_file){.memory = (char *)from,
							    .size = to - from,
							    .writable = permissions[1] == 'w'};
		count++;
	}
	fclose(maps);
	return count;
}

static int is_among(const struct shared_file *file, const struct shared_file *files, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (files[i].memory == file->memory)
			return 1;
	return 0;
}

/* The ring's two files are the ones that are mapped after it was opened, and were not before. */
static int set_up(void **state)
{
	struct shared_file before[16], after[16];
	unsigned fresh = 0;

	(void)state;
	client = client_opened();
	memory = region_opened(client, 1 << 20, &region);
	unsigned count_before = memfd_mappings(before, 16);

	ring = ring_opened(client, ENTRIES, 0);
	unsigned count_after = memfd_mappings(after, 16);

	assert_true(count_after <= 16);
	for (unsigned i = 0; i < count_after; i++) {
		if (is_among(&after[i], before, count_before))
			continue;
		*(after[i].writable ? &submission : &completion) = after[i];
		fresh++;
	}
	assert_int_equal(fresh, 2);
	assert_non_null(submission.memory);
	assert_non_null(completion.memory);
	submission.before = malloc(submission.size);
	completion.before = malloc(completion.size);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	free(submission.before);
	free(completion.before);
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
	return 0;
}

static void remember(void)
{
	memcpy(submission.before, submission.memory, submission.size);
	memcpy(completion.before, completion.memory, completion.size);
}

static unsigned dirty_lines(const struct shared_file *file)
{
	unsigned count = 0;

	for (size_t i = 0; i < file->size; i += LINE)
		count += memcmp(file->before + i, file->memory + i, LINE) != 0;
	return count;
}

/* Poll, so that nothing announces a sleeper. */
static void await_by_polling(unsigned count)
{
	struct vdm_cqe *cqes[ENTRIES];

	while (vdm_ring_peek_batch(ring, cqes, ENTRIES) < count)
		;
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(cqes[i]->result, 0);
}

static void submit_and_measure(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		vdm_prep_memcpy(entry(ring), memory, memory + 4096, 100, 0);
	remember();
	assert_int_equal(vdm_ring_submit(ring), count);
	assert_int_equal(dirty_lines(&submission), count);
	await_by_polling(count);
	assert_int_equal(dirty_lines(&submission), count);
	/* two completions share a line */
	assert_in_range(dirty_lines(&completion), (count + 1) / 2, count / 2 + 1);
	remember();
	vdm_ring_cq_advance(ring, count);
	assert_int_equal(dirty_lines(&submission), 0);
	assert_int_equal(dirty_lines(&completion), 0);
}

static void i1_one_line_per_submission_and_one_per_completion(void **state)
{
	(void)state;
	/* The first one rings the doorbell, and the daemon takes its announcement back. */
	vdm_prep_memset(entry(ring), memory, 1, 64, 0);
	assert_int_equal(run_one(ring), 0);
	for (unsigned i = 0; i < ROUNDS; i++)
		submit_and_measure(1);
}

static void i1_a_batch_dirties_as_many_lines_as_it_has_operations(void **state)
{
	(void)state;
	vdm_prep_memset(entry(ring), memory, 1, 64, 0);
	assert_int_equal(run_one(ring), 0);
	for (unsigned count = 1; count <= ENTRIES; count++)
		submit_and_measure(count);
}

static void completions_cannot_be_written_by_the_client(void **state)
{
	(void)state;
	assert_int_equal(mprotect(completion.memory, completion.size, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(i1_one_line_per_submission_and_one_per_completion),
		cmocka_unit_test(i1_a_batch_dirties_as_many_lines_as_it_has_operations),
		cmocka_unit_test(completions_cannot_be_written_by_the_client),
	};

	guard_against_hanging(60);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
