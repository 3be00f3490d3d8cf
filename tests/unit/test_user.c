/* SPDX-License-Identifier: BSD-3-Clause */
/* daemon/user.c: one object for each user id, whose settings are those of the configuration. */
#include "daemon/user.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "engine/account.h"

static struct engine *engine;
static struct config config;
static struct users users;

static int set_up(void **state)
{
	const struct engine_options options = {.workers = 1};

	(void)state;
	config_defaults(&config);
	if (engine_new(&options, &engine) < 0)
		return -1;
	users_init(&users, engine, &config);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	users_sweep(&users, true);
	engine_delete(engine);
	config_free(&config);
	return 0;
}

static struct user *get(uid_t uid)
{
	struct user *user;

	assert_int_equal(user_get(&users, uid, &user), 0);
	return user;
}

/* Also for users that have sessions already. */
static void the_configuration_decides_whose_turn_it_is(void **state)
{
	struct user_config section = {.uid = 5, .weight = 300, .priority = CONFIG_PRIORITY_HIGH};
	struct user *user = get(5);

	(void)state;
	assert_int_equal(user->account->weight, 100);
	assert_int_equal(user->account->priority, ENGINE_PRIORITY_NORMAL);
	config.users = &section;
	config.user_count = 1;
	users_configure(&users);
	assert_int_equal(user->account->weight, 300);
	assert_int_equal(user->account->priority, ENGINE_PRIORITY_HIGH);
	section.priority = CONFIG_PRIORITY_LOW;
	users_configure(&users);
	assert_int_equal(user->account->priority, ENGINE_PRIORITY_LOW);
	config.users = NULL;
	config.user_count = 0;
	user_put(user);
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
	users_sweep(&users, false); /* what they did in the last seconds is remembered */
	assert_false(LIST_EMPTY(&users.list));
	users_sweep(&users, true);
	assert_true(LIST_EMPTY(&users.list));
}

/*
 * Make a handshake so long after the last one that was counted, and repeat it if this thread had no
 * CPU in between.
 */
static int handshake_after(struct user *user, uint64_t ns, char text[VDM_REFUSAL_TEXT])
{
	for (;;) {
		uint64_t handshakes = user->handshakes, now = monotonic_ns();

		user->handshakes_ns = now - ns;
		int result = user_handshake(user, text);

		if (monotonic_ns() - now < 50000000)
			return result;
		user->handshakes = handshakes;
	}
}

static void connecting_again_and_again_is_limited(void **state)
{
	struct user *user = get(7);
	char text[VDM_REFUSAL_TEXT];

	(void)state;
	user->settings.limits.handshakes_per_second = 3;
	user->handshakes = 3;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(handshake_after(user, 0, text), 0);
	assert_int_equal(handshake_after(user, 0, text), -EDQUOT);
	assert_non_null(strstr(text, "handshakes_per_second"));
	user_put(user); /* going away does not help */
	assert_ptr_equal(get(7), user);
	assert_int_equal(handshake_after(user, 0, text), -EDQUOT);
	/* 0.4 s later there is one more */
	assert_int_equal(handshake_after(user, 400000000, text), 0);
	assert_int_equal(handshake_after(user, 0, text), -EDQUOT);
	/* and never more than at first */
	assert_int_equal(handshake_after(user, 10000000000, text), 0);
	for (unsigned i = 1; i < 3; i++)
		assert_int_equal(handshake_after(user, 0, text), 0);
	assert_int_equal(handshake_after(user, 0, text), -EDQUOT);
	user_put(user);
}

/*
 * Reconnecting gains nothing, neither handshakes nor messages, and other users change nothing about
 * that.
 */
static void a_user_is_remembered_for_as_long_as_messages_are_counted(void **state)
{
	struct user *first = get(5), *second = get(6);

	(void)state;
	first->log_limit.logged = 7;
	user_put(first);
	user_put(second);
	for (uid_t uid = 100; uid < 400; uid++)
		user_put(get(uid));
	first->idle_since_ns -= (LOG_LIMIT_SECONDS - 2) * 1000000000ull;
	assert_ptr_equal(get(5), first);
	assert_int_equal(first->log_limit.logged, 7);
	assert_int_equal(first->log_limit.account, 5);
	user_put(first); /* it is idle again from now on */
	second->idle_since_ns -= LOG_LIMIT_SECONDS * 1000000000ull;
	users_sweep(&users, false);
	assert_ptr_not_equal(LIST_FIRST(&users.list), NULL);
	for (struct user *user = LIST_FIRST(&users.list); user; user = LIST_NEXT(user, entry))
		assert_int_not_equal(user->uid, 6);
	assert_ptr_equal(get(5), first);
	user_put(first);
}

static void a_new_configuration_reaches_users_that_are_there(void **state)
{
	struct user *user = get(5);

	(void)state;
	config.limits.rings_per_user = 3;
	config.limits.sessions = 5;
	users_configure(&users);
	assert_int_equal(user->settings.limits.rings_per_user, 3);
	assert_int_equal(users.book.totals->limit[RESOURCE_SESSIONS], 5);
	user_put(user);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sessions_of_a_user_share_one_object, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(the_configuration_decides_whose_turn_it_is, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(connecting_again_and_again_is_limited, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(
			a_user_is_remembered_for_as_long_as_messages_are_counted, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(a_new_configuration_reaches_users_that_are_there,
						set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
