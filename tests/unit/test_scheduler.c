/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bare_queue.h"

#define PIECE 8192u

struct fixture {
	struct scheduler scheduler;
	struct engine_memory *regions;
	struct engine_account *a, *b;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	scheduler_init(&f->scheduler, 0);
	f->a = bare_account_new();
	f->b = bare_account_new();
	*state = f;
	return memory_new(NULL, 0, &f->regions);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	account_free(f->a);
	account_free(f->b);
	memory_free(f->regions);
	free(f);
	return 0;
}

static struct engine_queue *ready_queue(struct fixture *f, struct engine_account *account)
{
	struct engine_queue *queue = bare_queue_new(&f->scheduler, account, f->regions);

	bare_queue_set_ready(queue, true);
	return queue;
}

/* Serve the queue whose turn it is; returns whether it was one of the account. */
static bool serve(struct fixture *f, struct engine_account *account, size_t cost)
{
	struct engine_queue *queue = scheduler_pick(&f->scheduler);

	assert_non_null(queue);
	scheduler_charge(&f->scheduler, queue, cost);
	return queue->account == account;
}

static void bytes_are_shared_by_weight(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *first = ready_queue(f, f->a), *second = ready_queue(f, f->b);
	unsigned of_first = 0;

	scheduler_set_turn(&f->scheduler, f->b, 300, ENGINE_PRIORITY_NORMAL);
	for (unsigned i = 0; i < 4000; i++)
		of_first += serve(f, f->a, PIECE);
	assert_in_range(of_first, 999, 1001);
	bare_queue_delete(&f->scheduler, first);
	bare_queue_delete(&f->scheduler, second);
}

/* Neither more rings nor larger operations are an advantage. */
static void rings_and_sizes_gain_nothing(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *many[8], *one = ready_queue(f, f->b);
	size_t bytes[2] = {0};

	for (unsigned i = 0; i < 8; i++)
		many[i] = ready_queue(f, f->a);
	while (bytes[0] + bytes[1] < 1000 * PIECE) {
		struct engine_queue *queue = scheduler_pick(&f->scheduler);
		size_t cost = queue == one ? PIECE : 7 * PIECE;

		bytes[queue == one] += cost;
		scheduler_charge(&f->scheduler, queue, cost);
	}
	assert_in_range(bytes[0], bytes[1] - 8 * PIECE, bytes[1] + 8 * PIECE);
	for (unsigned i = 0; i < 8; i++)
		bare_queue_delete(&f->scheduler, many[i]);
	bare_queue_delete(&f->scheduler, one);
}

static void rings_of_an_account_are_served_alike(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *queues[5];
	unsigned served[5] = {0};

	for (unsigned i = 0; i < 5; i++)
		queues[i] = ready_queue(f, f->a);
	for (unsigned i = 0; i < 1000; i++) {
		struct engine_queue *queue = scheduler_pick(&f->scheduler);

		for (unsigned j = 0; j < 5; j++)
			served[j] += queue == queues[j];
		scheduler_charge(&f->scheduler, queue, PIECE);
	}
	for (unsigned i = 0; i < 5; i++) {
		assert_in_range(served[i], 190, 210);
		bare_queue_delete(&f->scheduler, queues[i]);
	}
}

/* An account that asks seldom is next when it asks, whatever the other has been waiting for. */
static void an_account_that_asks_seldom_is_next(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *greedy = ready_queue(f, f->a), *modest = ready_queue(f, f->b);

	for (unsigned i = 0; i < 100; i++) {
		bare_queue_set_ready(modest, false);
		for (unsigned j = 0; j <= i % 3; j++)
			assert_true(serve(f, f->a, 8 * PIECE));
		bare_queue_set_ready(modest, true);
		assert_true(serve(f, f->b, PIECE / 2));
	}
	bare_queue_delete(&f->scheduler, greedy);
	bare_queue_delete(&f->scheduler, modest);
}

/* But it has no credit for the time in which it had nothing to do, polled or not. */
static void idleness_earns_no_credit(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *greedy = ready_queue(f, f->a), *late = ready_queue(f, f->b);

	for (int polled = 0; polled <= 1; polled++) {
		unsigned of_greedy = 0;

		bare_queue_set_ready(late, false);
		if (!polled)
			scheduler_unpoll(&f->scheduler, late);
		for (unsigned i = 0; i < 1000; i++)
			assert_true(serve(f, f->a, PIECE));
		bare_queue_set_ready(late, true);
		if (!polled)
			scheduler_poll(&f->scheduler, late, 0);
		for (unsigned i = 0; i < 100; i++)
			of_greedy += serve(f, f->a, PIECE);
		assert_in_range(of_greedy, 49, 51);
	}
	bare_queue_delete(&f->scheduler, greedy);
	bare_queue_delete(&f->scheduler, late);
}

/* Nor is what an account was served forgotten because it looks idle for a moment. */
static void moments_of_idleness_gain_nothing(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *honest = ready_queue(f, f->a), *sly = ready_queue(f, f->b);
	size_t bytes[2] = {0};

	for (unsigned i = 0; i < 1000; i++) {
		struct engine_queue *queue = scheduler_pick(&f->scheduler);
		size_t cost = queue == sly ? 4 * PIECE : PIECE / 2;

		bytes[queue == sly] += cost;
		scheduler_charge(&f->scheduler, queue, cost);
		bare_queue_set_ready(sly, queue != sly);
	}
	assert_in_range(bytes[1], bytes[0] - 8 * PIECE, bytes[0] + 8 * PIECE);
	bare_queue_delete(&f->scheduler, honest);
	bare_queue_delete(&f->scheduler, sly);
}

static void what_was_not_moved_is_given_back(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *first = ready_queue(f, f->a), *second = ready_queue(f, f->b);
	unsigned of_first = 0;

	for (unsigned i = 0; i < 1000; i++) {
		struct engine_queue *queue = scheduler_pick(&f->scheduler);

		of_first += queue == first;
		scheduler_charge(&f->scheduler, queue, PIECE);
		if (queue == first)
			scheduler_refund(queue, PIECE / 2);
	}
	assert_in_range(of_first, 665, 668);
	bare_queue_delete(&f->scheduler, first);
	bare_queue_delete(&f->scheduler, second);
}

/* Also if the configuration has changed meanwhile: no account gets into debt for ever. */
static void what_is_given_back_may_be_worth_more(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *first = ready_queue(f, f->a), *second = ready_queue(f, f->b);
	unsigned of_first = 0;

	scheduler_set_turn(&f->scheduler, f->a, 1000, ENGINE_PRIORITY_NORMAL);
	assert_true(serve(f, f->a, PIECE));
	scheduler_set_turn(&f->scheduler, f->a, 1, ENGINE_PRIORITY_NORMAL);
	scheduler_refund(first, PIECE);
	scheduler_set_turn(&f->scheduler, f->a, 100, ENGINE_PRIORITY_NORMAL);
	for (unsigned i = 0; i < 100; i++)
		of_first += serve(f, f->a, PIECE);
	assert_in_range(of_first, 49, 51);
	bare_queue_delete(&f->scheduler, first);
	bare_queue_delete(&f->scheduler, second);
}

static void users_of_a_higher_priority_go_first(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *first = ready_queue(f, f->a), *second = ready_queue(f, f->b);
	unsigned of_first = 0;

	scheduler_set_turn(&f->scheduler, f->b, 100, ENGINE_PRIORITY_HIGH);
	for (unsigned i = 0; i < 1000; i++)
		assert_true(serve(f, f->b, PIECE));
	bare_queue_set_ready(second, false);
	assert_true(serve(f, f->a, PIECE));
	bare_queue_set_ready(second, true);
	assert_true(serve(f, f->b, PIECE));
	scheduler_set_turn(&f->scheduler, f->b, 100, ENGINE_PRIORITY_LOW);
	for (unsigned i = 0; i < 1000; i++)
		assert_true(serve(f, f->a, PIECE));
	/* and among equals again no account has anything from what was */
	scheduler_set_turn(&f->scheduler, f->b, 100, ENGINE_PRIORITY_NORMAL);
	for (unsigned i = 0; i < 100; i++)
		of_first += serve(f, f->a, PIECE);
	assert_in_range(of_first, 49, 51);
	/* also while its queues are not polled */
	scheduler_unpoll(&f->scheduler, second);
	scheduler_set_turn(&f->scheduler, f->b, 100, ENGINE_PRIORITY_HIGH);
	scheduler_poll(&f->scheduler, second, 0);
	assert_true(serve(f, f->b, PIECE));
	bare_queue_delete(&f->scheduler, first);
	bare_queue_delete(&f->scheduler, second);
}

static void rings_of_a_higher_priority_go_first(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *queues[3], *other = ready_queue(f, f->b);
	unsigned of_other = 0;

	for (int i = 0; i < 3; i++) {
		queues[i] = ready_queue(f, f->a);
		scheduler_unpoll(&f->scheduler, queues[i]);
		queues[i]->turn.priority = (enum engine_priority)(i - 1);
		scheduler_poll(&f->scheduler, queues[i], 0);
	}
	for (unsigned i = 3; i-- > 0;) {
		for (unsigned n = 0; n < 100; n++) {
			struct engine_queue *queue = scheduler_pick(&f->scheduler);

			assert_true(queue == queues[i] || queue == other);
			of_other += queue == other;
			scheduler_charge(&f->scheduler, queue, PIECE);
		}
		bare_queue_set_ready(queues[i], false);
	}
	assert_in_range(of_other, 149, 151); /* it is nothing to other users */
	for (unsigned i = 0; i < 3; i++)
		bare_queue_delete(&f->scheduler, queues[i]);
	bare_queue_delete(&f->scheduler, other);
}

/* A queue that waits for its turn is not quiet, however long it takes. */
static void a_queue_that_waits_for_its_turn_is_polled_on(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *waiting = ready_queue(f, f->a), *quiet = ready_queue(f, f->b);

	bare_queue_set_ready(quiet, false);
	scheduler_retire_quiet(&f->scheduler, 1);
	scheduler_retire_quiet(&f->scheduler, 1000000000);
	assert_true(waiting->turn.polled);
	/* nor was it announced, with a barrier for all, that it might be */
	assert_int_equal(waiting->consumer.retirements, 0);
	assert_false(quiet->turn.polled);
	assert_int_not_equal(atomic_load(&quiet->consumer.daemon_line->doorbell_wanted), 0);
	assert_int_equal(atomic_load(&waiting->consumer.daemon_line->doorbell_wanted), 0);
	bare_queue_delete(&f->scheduler, waiting);
	bare_queue_delete(&f->scheduler, quiet);
}

/* More polled rings than are looked at together. */
enum { MANY = 400, LOOKS = 24 };

static void open_many(struct fixture *f, struct engine_queue *queues[MANY])
{
	for (unsigned i = 0; i < MANY; i++)
		queues[i] = bare_queue_new(&f->scheduler, f->a, f->regions);
	/* none has been served: each is found idle by its first look */
	for (unsigned i = 0; i < MANY; i++)
		assert_null(scheduler_pick(&f->scheduler));
}

static void close_many(struct fixture *f, struct engine_queue *queues[MANY])
{
	for (unsigned i = 0; i < MANY; i++)
		bare_queue_delete(&f->scheduler, queues[i]);
}

static void of_many_rings_a_pick_looks_at_few(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *many[MANY];
	unsigned found = 0;

	open_many(f, many);
	for (unsigned i = 0; i < MANY; i++)
		bare_queue_set_ready(many[i], true);
	assert_non_null(scheduler_pick(&f->scheduler));
	for (unsigned i = 0; i < MANY; i++)
		found += many[i]->turn.ready;
	assert_in_range(found, 1, LOOKS);
	close_many(f, many);
}

/* It is found soon, and not lost again as long as it has something to do. */
static void a_ring_among_many_is_found(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *many[MANY], *found = NULL;

	open_many(f, many);
	for (unsigned i = 0; i < MANY; i += 7) {
		bare_queue_set_ready(many[i], true);
		for (unsigned picks = 0; picks <= MANY / 8 && !found; picks++)
			found = scheduler_pick(&f->scheduler);
		for (unsigned picks = 0; picks < 100; picks++) {
			assert_ptr_equal(found, many[i]);
			scheduler_charge(&f->scheduler, found, PIECE);
			found = scheduler_pick(&f->scheduler);
		}
		bare_queue_set_ready(many[i], false);
		found = NULL;
	}
	/* and at once, if a worker says that it is ready */
	bare_queue_set_ready(many[9], true);
	scheduler_notice(many[9]);
	assert_ptr_equal(scheduler_pick(&f->scheduler), many[9]);
	close_many(f, many);
}

/* Also if all of them have used up their turns, and some ask for more than others. */
static void many_rings_of_an_account_are_served_alike(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *many[MANY];
	size_t bytes[MANY] = {0};

	for (unsigned i = 0; i < MANY; i++)
		many[i] = ready_queue(f, f->a);
	for (size_t all = 0; all < (size_t)100 * MANY * 8 * PIECE;) {
		struct engine_queue *queue = scheduler_pick(&f->scheduler);
		unsigned i = 0;

		assert_non_null(queue);
		while (many[i] != queue)
			i++;
		const size_t cost = (1 + i % 7) * PIECE;

		scheduler_charge(&f->scheduler, queue, cost);
		bytes[i] += cost;
		all += cost;
	}
	for (unsigned i = 0; i < MANY; i++)
		assert_in_range(bytes[i], 97u * 8 * PIECE, 103u * 8 * PIECE);
	close_many(f, many);
}

/* Some at a time; in the end each is. */
static void many_quiet_rings_are_left_to_their_doorbells(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *many[MANY];
	uint64_t now = 1000000000;

	open_many(f, many);
	bare_queue_set_ready(many[MANY / 2], true);
	for (unsigned left = MANY; left > 1; left = f->a->polled) {
		scheduler_retire_quiet(&f->scheduler, now += 1000000);
		assert_in_range(f->a->polled, left > LOOKS ? left - LOOKS : 1, left - 1);
	}
	assert_true(many[MANY / 2]->turn.polled);
	assert_int_equal(many[MANY / 2]->consumer.retirements, 0);
	assert_ptr_equal(scheduler_pick(&f->scheduler), many[MANY / 2]);
	close_many(f, many);
}

/* An account that keeps rings coming and going pays for that, and interrupts others now and then
 * only. */
static void leaving_rings_is_rare_and_paid_for(void **state)
{
	struct fixture *f = *state;
	struct engine_queue *flapping = ready_queue(f, f->a), *honest = ready_queue(f, f->b);
	const uint32_t none = flapping->consumer.retirements;
	uint64_t paid = f->a->virtual_time, now = 1000000000;

	bare_queue_set_ready(flapping, false);
	for (unsigned us = 0; us < 1000; us++) {
		scheduler_retire_quiet(&f->scheduler, now += 1000);
		if (flapping->turn.polled)
			continue;
		assert_true(f->a->virtual_time > paid);
		paid = f->a->virtual_time;
		scheduler_poll(&f->scheduler, flapping, now);
	}
	assert_in_range(flapping->consumer.retirements - none, 45, 50);
	assert_int_equal(f->b->virtual_time, 0);
	bare_queue_delete(&f->scheduler, flapping);
	bare_queue_delete(&f->scheduler, honest);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(bytes_are_shared_by_weight),
		TEST(rings_and_sizes_gain_nothing),
		TEST(rings_of_an_account_are_served_alike),
		TEST(an_account_that_asks_seldom_is_next),
		TEST(idleness_earns_no_credit),
		TEST(moments_of_idleness_gain_nothing),
		TEST(what_was_not_moved_is_given_back),
		TEST(what_is_given_back_may_be_worth_more),
		TEST(users_of_a_higher_priority_go_first),
		TEST(rings_of_a_higher_priority_go_first),
		TEST(a_queue_that_waits_for_its_turn_is_polled_on),
		TEST(of_many_rings_a_pick_looks_at_few),
		TEST(a_ring_among_many_is_found),
		TEST(many_rings_of_an_account_are_served_alike),
		TEST(many_quiet_rings_are_left_to_their_doorbells),
		TEST(leaving_rings_is_rare_and_paid_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
