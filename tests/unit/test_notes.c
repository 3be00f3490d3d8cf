/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon/notes.c: no note is lost, whichever thread leaves it, and a note that is forgotten is not
 * taken.
 */
#include "daemon/notes.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define THREADS 4
#define ROUNDS  20000

static struct notes notes;

struct counted {
	struct note note;
	_Atomic unsigned left;
	unsigned taken; /* of `left`, at the last look */
};

static void count(void *context)
{
	struct counted *counted = context;

	counted->taken = atomic_load(&counted->left);
}

static struct counted notebook[THREADS];

static int set_up(void **state)
{
	(void)state;
	for (unsigned i = 0; i < THREADS; i++)
		notebook[i] = (struct counted){.note = {.take = count, .context = &notebook[i]}};
	return notes_open(&notes);
}

static int tear_down(void **state)
{
	(void)state;
	notes_close(&notes);
	return 0;
}

static bool is_signalled(void)
{
	struct pollfd event = {.fd = notes.fd, .events = POLLIN};

	return poll(&event, 1, 0) == 1;
}

static void a_note_is_taken_once(void **state)
{
	(void)state;
	notebook[0].left = 1;
	notes_leave(&notes, &notebook[0].note);
	notes_leave(&notes, &notebook[0].note);
	assert_true(is_signalled());
	notes_take(&notes);
	assert_int_equal(notebook[0].taken, 1);
	assert_false(is_signalled());
	notebook[0].left = 2;
	notes_take(&notes);
	assert_int_equal(notebook[0].taken, 1);
	notes_leave(&notes, &notebook[0].note);
	notes_take(&notes);
	assert_int_equal(notebook[0].taken, 2);
}

static void forget_second(void *context)
{
	count(context);
	notes_forget(&notes, &notebook[1].note);
}

/* Also by the one that is taken before it. */
static void what_is_forgotten_is_not_taken(void **state)
{
	(void)state;
	notebook[1].left = 1;
	notes_leave(&notes, &notebook[1].note);
	notes_forget(&notes, &notebook[1].note);
	notes_forget(&notes, &notebook[1].note);
	notes_take(&notes);
	assert_int_equal(notebook[1].taken, 0);

	notebook[0].note.take = forget_second;
	notebook[0].left = 1;
	notes_leave(&notes, &notebook[1].note);
	notes_leave(&notes, &notebook[0].note); /* the last one is the first */
	notes_take(&notes);
	assert_int_equal(notebook[0].taken, 1);
	assert_int_equal(notebook[1].taken, 0);
}

static void *leave_many(void *context)
{
	struct counted *counted = context;

	for (unsigned i = 0; i < ROUNDS; i++) {
		atomic_fetch_add(&counted->left, 1);
		notes_leave(&notes, &counted->note);
	}
	return NULL;
}

/* What was done before a note was left is seen by who takes it. */
static void none_is_lost(void **state)
{
	pthread_t threads[THREADS];
	unsigned done = 0;

	(void)state;
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, leave_many, &notebook[i]), 0);
	while (done < THREADS) {
		struct pollfd event = {.fd = notes.fd, .events = POLLIN};

		assert_int_equal(poll(&event, 1, 60000), 1);
		notes_take(&notes);
		done = 0;
		for (unsigned i = 0; i < THREADS; i++)
			done += notebook[i].taken == ROUNDS;
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_note_is_taken_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_forgotten_is_not_taken, set_up, tear_down),
		cmocka_unit_test_setup_teardown(none_is_lost, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
