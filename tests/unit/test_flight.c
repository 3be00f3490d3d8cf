/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "engine/flight.h"

#define LENGTH 1000
#define REGION 7
#define OTHER  8

static char memory[2 * LENGTH];

static struct flights flights;

static const struct operation apart = {.opcode = VDM_OPCODE_MEMCPY,
				       .facts = OP_DESTINATION | OP_WRITES | OP_SOURCE |
						OP_DIVISIBLE,
				       .destination = memory,
				       .source = memory + LENGTH,
				       .length = LENGTH,
				       .destination_region = REGION,
				       .source_region = REGION};

static int set_up(void **state)
{
	(void)state;
	return flights_init(&flights, 2, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	flights_free(&flights);
	return 0;
}

static void pieces_cover_an_operation_in_order(void **state)
{
	struct piece piece[3];

	(void)state;
	flight_begin(&flights, &apart, NULL);
	for (size_t i = 0; i < 3; i++) {
		assert_true(flight_has_piece(flights.open));
		piece[i] = flights_take_piece(&flights, 400);
		assert_int_equal(piece[i].offset, i * 400);
		assert_int_equal(piece[i].length, i < 2 ? 400 : 200);
	}
	assert_null(flights.open);
	for (size_t i = 0; i < 3; i++) {
		assert_null(flights.finished);
		flight_piece_done(piece[i].flight, 0);
	}
	assert_ptr_equal(flights_pop_finished(&flights), piece[0].flight);
	assert_int_equal(flights.active, 0);
	assert_null(flights_pop_finished(&flights));
}

static void an_indivisible_operation_is_one_piece(void **state)
{
	struct operation indivisible = apart;

	(void)state;
	indivisible.facts = OP_DESTINATION | OP_WRITES | OP_SOURCE;
	flight_begin(&flights, &indivisible, NULL);
	assert_int_equal(flights_take_piece(&flights, 1).length, LENGTH);
	assert_null(flights.open);
}

static void overlapping_pieces_follow_each_other_from_the_right_end(void **state)
{
	struct operation up = apart, down = apart;

	(void)state;
	up.source = memory;
	up.destination = memory + 1; /* to be moved from its end */
	down.source = memory + 1;
	down.destination = memory;
	for (int upwards = 0; upwards <= 1; upwards++) {
		flight_begin(&flights, upwards ? &up : &down, NULL);
		struct piece first = flights_take_piece(&flights, 600);

		assert_int_equal(first.offset, upwards ? LENGTH - 600 : 0);
		assert_false(flight_has_piece(flights.open));
		flight_piece_done(first.flight, 0);
		assert_true(flight_has_piece(flights.open));
		struct piece second = flights_take_piece(&flights, 600);

		assert_int_equal(second.offset, upwards ? 0 : 600);
		assert_int_equal(second.length, LENGTH - 600);
		flight_piece_done(second.flight, 0);
		assert_non_null(flights_pop_finished(&flights));
	}
}

static void the_first_error_closes_a_flight_and_stays(void **state)
{
	(void)state;
	flight_begin(&flights, &apart, NULL);
	struct piece first = flights_take_piece(&flights, 100);
	struct piece second = flights_take_piece(&flights, 100);

	flight_piece_done(second.flight, -EFAULT);
	assert_null(flights.open);
	assert_null(flights.finished); /* a worker is at the first piece */
	flight_piece_done(first.flight, -EIO);
	struct flight *flight = flights_pop_finished(&flights);

	assert_non_null(flight);
	assert_int_equal(flight->error, -EFAULT);
}

static void a_rest_is_returned_if_nothing_follows_it(void **state)
{
	(void)state;
	flight_begin(&flights, &apart, NULL);
	struct piece first = flights_take_piece(&flights, 400);
	struct piece second = flights_take_piece(&flights, 600);

	assert_null(flights.open);
	assert_false(flight_return_rest(&first, 100, true)); /* the second piece comes after it */
	assert_false(flight_return_rest(&second, 100, false));
	assert_true(flight_return_rest(&second, 100, true));
	flight_piece_done(second.flight, 0);
	assert_non_null(flights.open);
	struct piece rest = flights_take_piece(&flights, LENGTH);

	assert_int_equal(rest.offset, 500);
	assert_int_equal(rest.length, 500);
	/* another operation has begun meanwhile */
	flight_begin(&flights, &apart, NULL);
	assert_false(flight_return_rest(&rest, 100, true));
	flight_piece_done(first.flight, 0);
	flight_piece_done(rest.flight, 0);
	assert_ptr_equal(flights_pop_finished(&flights), first.flight);
	/* of one that has failed it need not be carried out */
	struct piece of_failed = flights_take_piece(&flights, 100);

	flights_cancel(&flights, -ECANCELED);
	assert_true(flight_return_rest(&of_failed, 10, false));
}

static void a_cancelled_flight_finishes_when_no_worker_is_at_it(void **state)
{
	(void)state;
	flights_cancel(&flights, -ECANCELED); /* there is none */
	flight_begin(&flights, &apart, NULL);
	flights_cancel(&flights, -ECANCELED);
	assert_int_equal(flights_pop_finished(&flights)->error, -ECANCELED);
	flight_begin(&flights, &apart, NULL);
	struct piece piece = flights_take_piece(&flights, 100);

	flights_cancel(&flights, -EFAULT);
	assert_null(flights.finished);
	flight_piece_done(piece.flight, 0);
	assert_int_equal(flights_pop_finished(&flights)->error, -EFAULT);
}

static void users_of_a_region_are_found_until_they_are_done(void **state)
{
	(void)state;
	assert_false(flights_use(&flights, REGION));
	flight_begin(&flights, &apart, NULL);
	assert_true(flights_use(&flights, REGION));
	assert_false(flights_use(&flights, OTHER));
	struct piece piece = flights_take_piece(&flights, LENGTH);

	assert_true(flights_use(&flights, REGION));
	flight_piece_done(piece.flight, 0);
	assert_false(flights_use(&flights, REGION));
}

static int submit_nothing(struct backend *backend, struct backend_request *request)
{
	(void)backend;
	(void)request;
	return -EINPROGRESS;
}

static void a_backends_flight_needs_no_worker(void **state)
{
	struct backend backend = {.submit = submit_nothing};

	(void)state;
	assert_false(flights_need_worker(&flights));
	flight_begin(&flights, &apart, &backend);
	assert_true(flights_need_worker(&flights)); /* to submit it */
	struct piece piece = flights_take_piece(&flights, SIZE_MAX);

	assert_int_equal(piece.length, LENGTH);
	flight_submit(piece.flight);
	assert_true(flights_need_worker(&flights)); /* which is still at it */
	flight_piece_done(piece.flight, 0);
	assert_false(flights_need_worker(&flights));
	assert_true(flights_use(&flights, REGION));
	flight_begin(&flights, &apart, NULL);
	flights_take_piece(&flights, LENGTH);
	assert_true(flights_need_worker(&flights));
	assert_null(flights.finished);
	flight_completed(piece.flight, -EIO);
	assert_int_equal(flights_pop_finished(&flights)->error, -EIO);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(pieces_cover_an_operation_in_order),
		TEST(an_indivisible_operation_is_one_piece),
		TEST(overlapping_pieces_follow_each_other_from_the_right_end),
		TEST(the_first_error_closes_a_flight_and_stays),
		TEST(a_rest_is_returned_if_nothing_follows_it),
		TEST(a_cancelled_flight_finishes_when_no_worker_is_at_it),
		TEST(users_of_a_region_are_found_until_they_are_done),
		TEST(a_backends_flight_needs_no_worker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
