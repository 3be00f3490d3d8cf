/* SPDX-License-Identifier: BSD-3-Clause */
/* daemon/user.c: one object for each user id, and what it may hold. */
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
	users_sweep(&users, true);
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

/* And it changes with the configuration. */
static void the_configuration_decides_whose_turn_it_is(void **state)
{
	struct user_config section = {.uid = 5, .weight = 300, .priority = CONFIG_PRIORITY_HIGH};
	struct user *user = get(5);

	(void)state;
	assert_int_equal(user->account->weight, 100);
	assert_int_equal(user->account->priority, ENGINE_PRIORITY_NORMAL);
	config.users = &section;
	config.user_count = 1;
	users_configure(&users, &config);
	assert_int_equal(user->account->weight, 300);
	assert_int_equal(user->account->priority, ENGINE_PRIORITY_HIGH);
	section.priority = CONFIG_PRIORITY_LOW;
	users_configure(&users, &config);
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
	users_sweep(&users, false); /* what they did in this second is not forgotten */
	assert_false(LIST_EMPTY(&users));
	users_sweep(&users, true);
	assert_true(LIST_EMPTY(&users));
}

static void nothing_goes_over_a_limit(void **state)
{
	struct user *user = get(5);
	char text[VDM_REFUSAL_TEXT];

	(void)state;
	user->settings.limits.mapped_bytes_per_user = 10;
	assert_int_equal(user_charge(user, RESOURCE_MAPPED_BYTES, 10, text), 0);
	assert_int_equal(user_charge(user, RESOURCE_MAPPED_BYTES, 1, text), -EDQUOT);
	assert_string_equal(text, "user 5 may have 10 bytes of regions and has 10: 1 more need a higher "
				  "mapped_bytes_per_user in [limits] of vdmd's configuration");
	assert_int_equal(user_charge(user, RESOURCE_MAPPED_BYTES, UINT64_MAX, text), -EDQUOT);
	user->settings.limits.mapped_bytes_per_user = UINT64_MAX;
	assert_int_equal(user_charge(user, RESOURCE_MAPPED_BYTES, UINT64_MAX - 9, text), -EDQUOT);
	user->settings.limits.mapped_bytes_per_user = 5; /* lowered meanwhile */
	assert_int_equal(user_charge(user, RESOURCE_MAPPED_BYTES, 1, text), -EDQUOT);
	user_release(user, RESOURCE_MAPPED_BYTES, 4);
	user->settings.limits.mapped_bytes_per_user = 10;
	assert_int_equal(user_charge(user, RESOURCE_MAPPED_BYTES, 4, text), 0);
	user_release(user, RESOURCE_MAPPED_BYTES, 10);
	user_put(user);
}

/* The operator finds the limit where the sentence says that it is. */
static void a_refusal_names_the_section_that_sets_the_limit(void **state)
{
	char path[] = "/tmp/vdmd-test-user.XXXXXX", text[VDM_REFUSAL_TEXT], error[CONFIG_ERROR_TEXT];
	FILE *file = fdopen(mkstemp(path), "w");

	(void)state;
	assert_non_null(file);
	fputs("[limits]\nrings_per_user = 2\n[user 7]\nhandshakes_per_second = 1\nrings_per_user = 1\n[user root]\n"
	      "rings_per_user = 1\n", file);
	fclose(file);
	assert_int_equal(config_read(&config, path, true, error), 0);
	unlink(path);

	struct user *seven = get(7), *root = get(0), *other = get(8);

	assert_int_equal(user_charge(seven, RESOURCE_RINGS, 3, text), -EDQUOT);
	assert_non_null(strstr(text, "rings_per_user in [user 7] of"));
	assert_int_equal(user_charge(seven, RESOURCE_REGIONS, 1 << 20, text), -EDQUOT);
	assert_non_null(strstr(text, "regions_per_user in [limits] of"));
	assert_int_equal(user_handshake(seven, text), 0);
	assert_int_equal(user_handshake(seven, text), -EDQUOT);
	assert_non_null(strstr(text, "handshakes_per_second in [user 7] of"));
	assert_int_equal(user_charge(root, RESOURCE_RINGS, 3, text), -EDQUOT);
	assert_non_null(strstr(text, "rings_per_user in [user root] of"));
	assert_int_equal(user_charge(other, RESOURCE_RINGS, 3, text), -EDQUOT);
	assert_non_null(strstr(text, "rings_per_user in [limits] of"));
	user_put(seven);
	user_put(root);
	user_put(other);
}

/* Each names the key that raises it. */
static void each_resource_has_its_limit(void **state)
{
	static const char *const keys[RESOURCE_COUNT] = {"sessions_per_user", "rings_per_user", "entries_per_user",
							 "regions_per_user",  "mapped_bytes_per_user",
							 "descriptors_per_user"};
	struct user *user = get(5);
	char text[VDM_REFUSAL_TEXT];

	(void)state;
	for (unsigned i = 0; i < RESOURCE_COUNT; i++) {
		assert_int_equal(user_charge(user, i, 1, text), 0);
		assert_int_equal(user_charge(user, i, 1ull << 60, text), -EDQUOT);
		assert_non_null(strstr(text, keys[i]));
		user_release(user, i, 1);
	}
	user_put(user);
}

/* A handshake so long after the last one that was counted: not any longer because this thread had no CPU. */
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

static void a_new_configuration_reaches_users_that_are_there(void **state)
{
	struct user *user = get(5);

	(void)state;
	config.limits.rings_per_user = 3;
	users_configure(&users, &config);
	assert_int_equal(user->settings.limits.rings_per_user, 3);
	user_put(user);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sessions_of_a_user_share_one_object, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_configuration_decides_whose_turn_it_is, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nothing_goes_over_a_limit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_refusal_names_the_section_that_sets_the_limit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(each_resource_has_its_limit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(connecting_again_and_again_is_limited, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_new_configuration_reaches_users_that_are_there, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
