/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "bare_engine.h"
#include "base/barrier.h"

struct fixture {
	struct engine *engine;
	struct worker *worker;
	struct engine_memory *regions;
	struct engine_account *own, *other;
	struct engine_queue *queue; /* of the other */
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	f->engine = bare_engine_new(1);
	f->engine->may_watch = barrier_register_own();
	f->worker = &f->engine->worker[0];
	f->own = bare_account_new(f->engine);
	f->other = bare_account_new(f->engine);
	*state = f;
	if (engine_memory_new(f->engine, 0, &f->regions) < 0)
		return -1;
	f->queue = bare_queue_new(f->other, f->regions);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	bare_queue_delete(f->queue);
	engine_account_delete(f->own);
	engine_account_delete(f->other);
	engine_memory_delete(f->regions);
	free(f->engine);
	free(f);
	return 0;
}

#define NEEDS_BARRIER(f)                                                                           \
	do {                                                                                       \
		if (!(f)->engine->may_watch)                                                       \
			skip();                                                                    \
	} while (0)

static void what_another_account_submits_is_noticed(void **state)
{
	struct fixture *f = *state;

	NEEDS_BARRIER(f);
	assert_true(watch_others(f->worker, f->own));
	assert_false(watch_wanted(f->worker));
	bare_queue_set_ready(f->queue, true);
	assert_true(watch_wanted(f->worker));
}

static void ones_own_rings_are_not_watched(void **state)
{
	struct fixture *f = *state;

	NEEDS_BARRIER(f);
	assert_true(watch_others(f->worker, f->other));
	bare_queue_set_ready(f->queue, true);
	assert_false(watch_wanted(f->worker));
}

static void lower_priorities_are_not_watched(void **state)
{
	struct fixture *f = *state;

	NEEDS_BARRIER(f);
	engine_account_set_turn(f->other, 100, ENGINE_PRIORITY_LOW);
	assert_true(watch_others(f->worker, f->own));
	bare_queue_set_ready(f->queue, true);
	assert_false(watch_wanted(f->worker));
	bare_queue_set_ready(f->queue, false);
	engine_account_set_turn(f->other, 100, ENGINE_PRIORITY_HIGH);
	assert_true(watch_others(f->worker, f->own));
	bare_queue_set_ready(f->queue, true);
	assert_true(watch_wanted(f->worker));
}

/* Then pieces have to be small: who waits for his turn, or cannot be watched, waits for the end of one. */
static void not_all_can_be_watched(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *many[WATCHED];
	struct job job = {.queue = f->queue};

	bare_queue_set_ready(f->queue, true);
	assert_false(watch_others(f->worker, f->own));
	assert_int_equal(f->worker->watch.count, 0);
	bare_queue_set_ready(f->queue, false);
	for (unsigned i = 0; i < WATCHED; i++)
		many[i] = bare_queue_new(f->other, f->regions);
	assert_false(watch_others(f->worker, f->own));
	assert_int_equal(f->worker->watch.count, 0);
	f->engine->may_watch = false;
	for (unsigned i = 0; i < WATCHED; i++)
		bare_queue_delete(many[i]);
	assert_false(watch_others(f->worker, f->own));
	f->engine->may_watch = barrier_register_own();
	NEEDS_BARRIER(f);
	/* one that has a large operation of its own in progress is in no hurry */
	f->queue->handing_out = &job;
	assert_true(watch_others(f->worker, f->own));
	assert_int_equal(f->worker->watch.count, 0);
}

static void what_is_to_be_unmapped_is_not_looked_at(void **state)
{
	struct fixture *f = *state;

	NEEDS_BARRIER(f);
	assert_int_equal(watch_revoke(f->engine, f->queue), 0);
	assert_true(watch_others(f->worker, f->own));
	atomic_store(&f->worker->watch.looking, true);
	assert_int_equal(watch_revoke(f->engine, f->queue), -EAGAIN);
	atomic_store(&f->worker->watch.looking, false);
	assert_int_equal(watch_revoke(f->engine, f->queue), 0);
	bare_queue_set_ready(f->queue, true);
	assert_false(watch_wanted(f->worker));
	/* but the next piece's watch is its own */
	bare_queue_set_ready(f->queue, false);
	assert_true(watch_others(f->worker, f->own));
	bare_queue_set_ready(f->queue, true);
	assert_true(watch_wanted(f->worker));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_another_account_submits_is_noticed),
		TEST(ones_own_rings_are_not_watched),
		TEST(lower_priorities_are_not_watched),
		TEST(not_all_can_be_watched),
		TEST(what_is_to_be_unmapped_is_not_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
