/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bare_queue.h"
#include "engine/peek.h"

struct fixture {
	struct scheduler scheduler;
	struct peek peek;
	struct engine_memory *regions;
	struct engine_account *own, *other;
	struct engine_queue *queue; /* of the other */
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	scheduler_init(&f->scheduler, 0);
	f->own = bare_account_new();
	f->other = bare_account_new();
	*state = f;
	if (memory_new(NULL, 0, &f->regions) < 0)
		return -1;
	f->queue = bare_queue_new(&f->scheduler, f->other, f->regions);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	bare_queue_delete(&f->scheduler, f->queue);
	account_free(f->own);
	account_free(f->other);
	memory_free(f->regions);
	free(f);
	return 0;
}

static void what_another_account_submits_is_noticed(void **state)
{
	struct fixture *f = *state;

	assert_true(peek_prepare(&f->peek, &f->scheduler, f->own));
	assert_false(peek_wanted(&f->peek));
	bare_queue_set_ready(f->queue, true);
	assert_true(peek_wanted(&f->peek));
}

static void rings_of_the_same_account_are_not_peeked_at(void **state)
{
	struct fixture *f = *state;

	assert_true(peek_prepare(&f->peek, &f->scheduler, f->other));
	bare_queue_set_ready(f->queue, true);
	assert_false(peek_wanted(&f->peek));
}

static void lower_priorities_are_not_peeked_at(void **state)
{
	struct fixture *f = *state;

	scheduler_set_turn(&f->scheduler, f->other, 100, ENGINE_PRIORITY_LOW);
	assert_true(peek_prepare(&f->peek, &f->scheduler, f->own));
	bare_queue_set_ready(f->queue, true);
	assert_false(peek_wanted(&f->peek));
	bare_queue_set_ready(f->queue, false);
	scheduler_set_turn(&f->scheduler, f->other, 100, ENGINE_PRIORITY_HIGH);
	assert_true(peek_prepare(&f->peek, &f->scheduler, f->own));
	bare_queue_set_ready(f->queue, true);
	assert_true(peek_wanted(&f->peek));
}

/* Then pieces have to be small: an account whose turn it is, or that cannot be peeked at, waits for
 * the end of one. */
static void not_all_can_be_peeked_at(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *many[PEEK_QUEUES];
	const struct operation large = {.length = 1 << 20};

	bare_queue_set_ready(f->queue, true);
	assert_false(peek_prepare(&f->peek, &f->scheduler, f->own));
	assert_int_equal(f->peek.count, 0);
	bare_queue_set_ready(f->queue, false);
	for (unsigned i = 0; i < PEEK_QUEUES; i++)
		many[i] = bare_queue_new(&f->scheduler, f->other, f->regions);
	assert_false(peek_prepare(&f->peek, &f->scheduler, f->own));
	assert_int_equal(f->peek.count, 0);
	for (unsigned i = 0; i < PEEK_QUEUES; i++)
		bare_queue_delete(&f->scheduler, many[i]);
	/* one that has a large operation of its own in progress is in no hurry */
	flight_begin(&f->queue->flights, &large, NULL);
	assert_true(peek_prepare(&f->peek, &f->scheduler, f->own));
	assert_int_equal(f->peek.count, 0);
}

static void what_is_to_be_unmapped_is_not_looked_at(void **state)
{
	struct fixture *f = *state;

	assert_false(peek_revoke(&f->peek, f->queue));
	assert_true(peek_prepare(&f->peek, &f->scheduler, f->own));
	atomic_store(&f->peek.looking, true);
	assert_true(peek_revoke(&f->peek, f->queue));
	assert_true(peek_is_looking(&f->peek, f->queue));
	atomic_store(&f->peek.looking, false);
	assert_false(peek_is_looking(&f->peek, f->queue));
	bare_queue_set_ready(f->queue, true);
	assert_false(peek_wanted(&f->peek));
	/* that it was revoked is known to the end of the piece, also if it stops before */
	peek_stop(&f->peek);
	assert_true(peek_end(&f->peek));
	assert_false(peek_end(&f->peek));
	/* but the next piece's permission is its own */
	bare_queue_set_ready(f->queue, false);
	assert_true(peek_prepare(&f->peek, &f->scheduler, f->own));
	bare_queue_set_ready(f->queue, true);
	assert_true(peek_wanted(&f->peek));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_another_account_submits_is_noticed),
		TEST(rings_of_the_same_account_are_not_peeked_at),
		TEST(lower_priorities_are_not_peeked_at),
		TEST(not_all_can_be_peeked_at),
		TEST(what_is_to_be_unmapped_is_not_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
