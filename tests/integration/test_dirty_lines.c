/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * I1: submitting one operation dirties one cache line, completing it dirties one, and marking it
 * seen none. Measured by comparing all of a ring's shared memory before and after. Runs against a
 * daemon that polls for a second, so that no doorbell comes in between.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "cmocka_test.h"
#include "ring_memory.h"
#include "ring_use.h"
#include "scale.h"

#define LINE    64
#define ENTRIES 64
#define ROUNDS  (3 * ENTRIES)

static struct vdm_client *client;
static struct vdm_ring *ring;
static struct vdm_region *region;
static char *memory;
static struct ring_memory shared;
static char *submission_before, *completion_before;

static int set_up(void **state)
{
	(void)state;
	client = client_opened();
	memory = region_opened(client, 1 << 20, &region);
	ring = ring_opened_in(client, ENTRIES, VDM_PRIORITY_NORMAL, &shared);
	submission_before = malloc(shared.submission.size);
	completion_before = malloc(shared.completion.size);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	free(submission_before);
	free(completion_before);
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
	return 0;
}

static void remember(void)
{
	memcpy(submission_before, shared.submission.memory, shared.submission.size);
	memcpy(completion_before, shared.completion.memory, shared.completion.size);
}

static unsigned dirty_lines(const struct ring_file *file, const char *before)
{
	unsigned count = 0;

	for (size_t i = 0; i < file->size; i += LINE)
		count += memcmp(before + i, file->memory + i, LINE) != 0;
	return count;
}

static unsigned dirty_submissions(void)
{
	return dirty_lines(&shared.submission, submission_before);
}

static unsigned dirty_completions(void)
{
	return dirty_lines(&shared.completion, completion_before);
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
	assert_int_equal(dirty_submissions(), count);
	await_by_polling(count);
	assert_int_equal(dirty_submissions(), count);
	/* two completions share a line */
	assert_in_range(dirty_completions(), (count + 1) / 2, count / 2 + 1);
	remember();
	vdm_ring_cq_advance(ring, count);
	assert_int_equal(dirty_submissions(), 0);
	assert_int_equal(dirty_completions(), 0);
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
	assert_int_equal(mprotect(shared.completion.memory, shared.completion.size,
				  PROT_READ | PROT_WRITE),
			 -1);
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
