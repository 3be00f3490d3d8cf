/* SPDX-License-Identifier: BSD-3-Clause */
/* daemon/books.c: nothing goes over a limit, and a charge gives back what it took. */
#include "daemon/books.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/log.h"

static struct config config;
static struct user_config settings, other_settings;
static struct totals totals;
static struct book all, user, other, session;
static char text[VDM_REFUSAL_TEXT];

static int set_up(void **state)
{
	(void)state;
	config_defaults(&config);
	settings = config_for_user(&config, 5);
	other_settings = config_for_user(&config, 6);
	totals = totals_in_force(&config);
	all = (struct book){.totals = &totals};
	other = (struct book){.sum = &all, .settings = &other_settings};
	user = (struct book){.sum = &all, .settings = &settings};
	session = (struct book){.sum = &user};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	book_close(&session);
	book_close(&user);
	book_close(&other);
	book_close(&all);
	config_free(&config);
	return 0;
}

static void a_charge_is_entered_in_every_sum(void **state)
{
	struct charge ring = {0}, region = {0};

	(void)state;
	assert_int_equal(charge_ring(&ring, &session, 64, text), 0);
	assert_int_equal(charge_region(&region, &session, 4096, text), 0);
	for (const struct book *book = &session; book; book = book->sum) {
		assert_int_equal(book->used[RESOURCE_RINGS], 1);
		assert_int_equal(book->used[RESOURCE_ENTRIES], 64);
		assert_int_equal(book->used[RESOURCE_REGIONS], 1);
		assert_int_equal(book->used[RESOURCE_MAPPED_BYTES], 4096);
		assert_int_equal(book->used[RESOURCE_DESCRIPTORS], 5);
	}
	charge_ring_started(&ring);
	for (const struct book *book = &session; book; book = book->sum)
		assert_int_equal(book->used[RESOURCE_DESCRIPTORS], 3);
	charge_release(&ring);
	charge_release(&region);
}

static void a_charge_is_given_back_once(void **state)
{
	struct charge first = {0}, second = {0}, never = {0};

	(void)state;
	assert_int_equal(charge_session(&first, &session, text), 0);
	assert_int_equal(charge_session(&second, &session, text), 0);
	charge_release(&first);
	charge_release(&first);
	charge_release(&never);
	assert_int_equal(session.used[RESOURCE_SESSIONS], 1);
	assert_int_equal(all.used[RESOURCE_SESSIONS], 1);
	charge_release(&second);
}

static void nothing_goes_over_a_limit(void **state)
{
	struct charge all_of_it = {0}, more = {0};

	(void)state;
	settings.limits.mapped_bytes_per_user = 10;
	assert_int_equal(charge_region(&all_of_it, &session, 10, text), 0);
	assert_int_equal(charge_region(&more, &session, 1, text), -EDQUOT);
	assert_string_equal(text,
			    "user 5 may have 10 bytes of regions and has 10: 1 more need a higher "
			    "mapped_bytes_per_user in [limits] of vdmd's configuration");
	assert_int_equal(charge_region(&more, &session, UINT64_MAX, text), -EDQUOT);
	settings.limits.mapped_bytes_per_user = UINT64_MAX;
	assert_int_equal(charge_region(&more, &session, UINT64_MAX - 9, text), -EDQUOT);
	settings.limits.mapped_bytes_per_user = 5; /* lowered by a reload */
	assert_int_equal(charge_region(&more, &session, 1, text), -EDQUOT);
	settings.limits.mapped_bytes_per_user = 14;
	assert_int_equal(charge_region(&more, &session, 4, text), 0);
	charge_release(&all_of_it);
	charge_release(&more);
}

/*
 * A user that is over one limit, which a reload has lowered, may have what the other limits allow.
 */
static void each_limit_stands_alone(void **state)
{
	struct charge region = {0}, ring = {0};

	(void)state;
	assert_int_equal(charge_region(&region, &session, 4096, text), 0);
	settings.limits.mapped_bytes_per_user = 1;
	assert_int_equal(charge_ring(&ring, &session, 2, text), 0);
	charge_release(&region);
	charge_release(&ring);
}

static void a_refusal_charges_nothing(void **state)
{
	struct charge ring = {0};

	(void)state;
	settings.limits.descriptors_per_user = 1; /* the last of the limits that a ring meets */
	assert_int_equal(charge_ring(&ring, &session, 2, text), -EDQUOT);
	charge_release(&ring); /* and tear_down() looks */
}

static int try_session(struct charge *charge)
{
	return charge_session(charge, &session, text);
}

static int try_ring(struct charge *charge)
{
	return charge_ring(charge, &session, 2, text);
}

static int try_region(struct charge *charge)
{
	return charge_region(charge, &session, 4096, text);
}

static void each_resource_has_a_limit_that_the_refusal_names(void **state)
{
	const struct {
		int (*try)(struct charge *);
		uint64_t *limit;
		const char *key;
	} limits[] = {
		{try_session, &settings.limits.sessions_per_user, "sessions_per_user"},
		{try_ring, &settings.limits.rings_per_user, "rings_per_user"},
		{try_ring, &settings.limits.entries_per_user, "entries_per_user"},
		{try_region, &settings.limits.regions_per_user, "regions_per_user"},
		{try_region, &settings.limits.mapped_bytes_per_user, "mapped_bytes_per_user"},
		{try_session, &settings.limits.descriptors_per_user, "descriptors_per_user"},
		{try_ring, &settings.limits.descriptors_per_user, "descriptors_per_user"},
		{try_region, &settings.limits.descriptors_per_user, "descriptors_per_user"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
		const uint64_t before = *limits[i].limit;
		struct charge charge = {0};

		*limits[i].limit = 0;
		assert_int_equal(limits[i].try(&charge), -EDQUOT);
		assert_non_null(strstr(text, limits[i].key));
		*limits[i].limit = before;
		assert_int_equal(limits[i].try(&charge), 0);
		charge_release(&charge);
	}
}

/* The operator finds the limit where the sentence says that it is. */
static void a_refusal_names_the_section_that_sets_the_limit(void **state)
{
	char path[] = "/tmp/vdmd-test-books.XXXXXX", error[CONFIG_ERROR_TEXT];
	FILE *file = fdopen(mkstemp(path), "w");
	static const struct {
		uid_t uid;
		const char *section;
	} users[] = {{7, "rings_per_user in [user 7] of"},
		     {0, "rings_per_user in [user root] of"},
		     {8, "rings_per_user in [limits] of"}};
	struct charge first = {0}, second = {0};

	(void)state;
	assert_non_null(file);
	fputs("[limits]\nrings_per_user = 1\n"
	      "[user 7]\nrings_per_user = 1\n"
	      "[user root]\nrings_per_user = 1\n",
	      file);
	fclose(file);
	assert_int_equal(config_read(&config, path, true, error), 0);
	unlink(path);
	for (size_t i = 0; i < sizeof users / sizeof *users; i++) {
		settings = config_for_user(&config, users[i].uid);
		assert_int_equal(try_ring(&first), 0);
		assert_int_equal(try_ring(&second), -EDQUOT);
		assert_non_null(strstr(text, users[i].section));
		charge_release(&first);
	}
}

/* Take sessions for a user until it gets no more. Returns how many it got. */
static unsigned take_sessions(struct book *book, struct charge *charges, unsigned most)
{
	unsigned count = 0;

	while (count < most && charge_session(&charges[count], book, text) == 0)
		count++;
	return count;
}

static void one_user_gets_half_of_a_total(void **state)
{
	static const struct {
		uint64_t total;
		unsigned half;
	} totals_tried[] = {{0, 0}, {1, 1}, {2, 1}, {3, 2}, {16, 8}, {17, 9}};

	(void)state;
	for (size_t i = 0; i < sizeof totals_tried / sizeof *totals_tried; i++) {
		struct charge charges[16] = {0};

		totals.limit[RESOURCE_SESSIONS] = totals_tried[i].total;
		assert_int_equal(take_sessions(&session, charges, 16), totals_tried[i].half);
		for (unsigned j = 0; j < 16; j++)
			charge_release(&charges[j]);
	}
}

/* What one user leaves is there for others, down to the last one. */
static void something_is_left_for_a_user_that_has_less(void **state)
{
	struct charge charges[2][16] = {0};

	(void)state;
	totals.limit[RESOURCE_SESSIONS] = 12;
	/* they take turns, and so get a third each */
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(charge_session(&charges[0][i], &session, text), 0);
		assert_int_equal(charge_session(&charges[1][i], &other, text), 0);
	}
	assert_int_equal(charge_session(&charges[0][4], &session, text), -EDQUOT);
	assert_string_equal(
		text, "user 5 has 4 sessions and 4 are left for all users: a user gets more while "
		      "it has less than are left: give some back, or raise sessions in [limits] of "
		      "vdmd's configuration");
	assert_int_equal(charge_session(&charges[1][4], &other, text), -EDQUOT);

	/* one gives back, and the other gets more */
	for (unsigned i = 0; i < 4; i++)
		charge_release(&charges[0][i]);
	assert_int_equal(take_sessions(&other, charges[1] + 4, 12), 2);
	assert_int_equal(take_sessions(&session, charges[0], 16), 3);
	for (unsigned i = 0; i < 16; i++) {
		charge_release(&charges[0][i]);
		charge_release(&charges[1][i]);
	}
}

/* Several at once are granted if they would be one by one. */
static void descriptors_are_a_total_as_well(void **state)
{
	struct charge first = {0}, second = {0}, third = {0};

	(void)state;
	totals.limit[RESOURCE_DESCRIPTORS] = 12;
	assert_int_equal(try_session(&first), 0);
	assert_int_equal(try_ring(&second), 0);
	assert_int_equal(try_region(&third), -EDQUOT);
	assert_string_equal(text, "user 5 has 6 descriptors and 6 are left for all users: a user "
				  "gets more while it has less than are left: give some back, or "
				  "raise LimitNOFILE of vdmd's service");
	charge_release(&second);
	totals.limit[RESOURCE_DESCRIPTORS] = 6;
	assert_int_equal(try_region(&third), 0);
	assert_int_equal(try_ring(&second), -EDQUOT);
	charge_release(&third);

	/* a total that has become smaller may be less than there are */
	totals.limit[RESOURCE_DESCRIPTORS] = 1;
	assert_int_equal(try_region(&second), -EDQUOT);
	assert_non_null(strstr(text, " 0 are left"));
	charge_release(&first);
}

/* Each region is one, and each ring two. No limit of a user's is about them. */
static void mappings_are_a_total_alone(void **state)
{
	struct charge first = {0}, second = {0}, third = {0};

	(void)state;
	totals.limit[RESOURCE_MAPPINGS] = 4;
	assert_int_equal(try_ring(&first), 0);
	assert_int_equal(try_region(&second), -EDQUOT);
	assert_non_null(strstr(text, "2 mappings and 2 are left"));
	assert_non_null(strstr(text, "vm.max_map_count"));
	assert_int_equal(charge_region(&third, &other, 1, text), 0);
	assert_int_equal(all.used[RESOURCE_MAPPINGS], 3);
	charge_release(&third);
	charge_release(&first);
}

/* The descriptors that the kernel allows, but for the daemon's own. */
static void totals_are_those_of_the_configuration_and_the_kernel(void **state)
{
	struct rlimit before, limit;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = (struct rlimit){.rlim_cur = 100, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	config.limits.sessions = 7;
	totals = totals_in_force(&config);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(totals.limit[RESOURCE_SESSIONS], 7);
	assert_int_equal(totals.limit[RESOURCE_DESCRIPTORS], 100 - DESCRIPTORS_OF_OWN);
	assert_true(totals.limit[RESOURCE_RINGS] == UINT64_MAX);
	assert_in_range(totals.limit[RESOURCE_MAPPINGS], 1, UINT64_MAX - 1);
}

static void a_leak_is_found_when_the_book_is_closed(void **state)
{
	struct charge leaked = {0};
	int status;

	(void)state;
	assert_int_equal(try_ring(&leaked), 0);
	if (fork() == 0) {
		log_set_level(-1);
		signal(SIGABRT, SIG_DFL);
		book_close(&user);
		_exit(0);
	}
	assert_true(wait(&status) > 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	charge_release(&leaked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(a_charge_is_entered_in_every_sum),
		TEST(a_charge_is_given_back_once),
		TEST(nothing_goes_over_a_limit),
		TEST(each_limit_stands_alone),
		TEST(a_refusal_charges_nothing),
		TEST(each_resource_has_a_limit_that_the_refusal_names),
		TEST(a_refusal_names_the_section_that_sets_the_limit),
		TEST(one_user_gets_half_of_a_total),
		TEST(something_is_left_for_a_user_that_has_less),
		TEST(descriptors_are_a_total_as_well),
		TEST(mappings_are_a_total_alone),
		TEST(totals_are_those_of_the_configuration_and_the_kernel),
		TEST(a_leak_is_found_when_the_book_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
