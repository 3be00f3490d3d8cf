/* SPDX-License-Identifier: BSD-3-Clause */
/* daemon/user.c: one object for each user id, and what it may hold. */
#include "daemon/user.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static struct engine *engine;
static struct config config;
static struct user_list users;

static int set_up(void **state)
{
	const struct engine_options options = {.workers = 1};

	(void)state;
	LIST_INIT(&users);
	config_defaults(&config);
	return engine_new(&options, &engine);
}

static int tear_down(void **state)
{
	(void)state;
	engine_delete(engine);
	config_free(&config);
	return 0;
}

static struct user *get(uid_t uid)
{
	struct user *user;

	assert_int_equal(user_get(&users, engine, &config, uid, &user), 0);
	return user;
}

static void sessions_of_a_user_share_one_object(void **state)
{
	struct user *first = get(5), *again = get(5), *other = get(6);

	(void)state;
	assert_ptr_equal(first, again);
	assert_ptr_not_equal(first, other);
	user_put(again);
	assert_ptr_equal(get(5), first);
	user_put(first);
	user_put(first);
	user_put(other);
	assert_true(LIST_EMPTY(&users));
}

static void nothing_goes_over_a_limit(void **state)
{
	struct user *user = get(5);

	(void)state;
	assert_int_equal(user_charge(user, RESOURCE_MAPPED_BYTES, 10, 10), 0);
	assert_int_equal(user_charge(user, RESOURCE_MAPPED_BYTES, 1, 10), -EDQUOT);
	assert_int_equal(user_charge(user, RESOURCE_MAPPED_BYTES, UINT64_MAX, 10), -EDQUOT);
	assert_int_equal(user_charge(user, RESOURCE_MAPPED_BYTES, UINT64_MAX - 9, UINT64_MAX), -EDQUOT);
	assert_int_equal(user_charge(user, RESOURCE_MAPPED_BYTES, 1, 5), -EDQUOT); /* lowered meanwhile */
	user_release(user, RESOURCE_MAPPED_BYTES, 4);
	assert_int_equal(user_charge(user, RESOURCE_MAPPED_BYTES, 4, 10), 0);
	user_release(user, RESOURCE_MAPPED_BYTES, 10);
	user_put(user);
}

static void a_new_configuration_reaches_users_that_are_there(void **state)
{
	struct user *user = get(5);

	(void)state;
	config.limits.rings_per_user = 3;
	users_configure(&users, &config);
	assert_int_equal(user->limits.rings_per_user, 3);
	user_put(user);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sessions_of_a_user_share_one_object, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nothing_goes_over_a_limit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_new_configuration_reaches_users_that_are_there, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
