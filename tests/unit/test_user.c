/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon/user.c: one object for each user, whose settings are those of the configuration, and
 * daemon/account_lookup.c: whose a user id is. This program answers in the place of libsubid.
 */
#include "daemon/user.h"

#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <shadow/subid.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "daemon/account_lookup.h"
#include "engine/account.h"

int __wrap_subid_get_uid_owners(uid_t uid, uid_t **owners);
int __wrap_subid_get_uid_ranges(const char *owner, struct subid_range **ranges);

/* Users without names own ids. The first file has two lines of one owner, and the last overlaps. */
#define OWNER       4000000u
#define LATE_OWNER  4000001u
#define OTHER_OWNER 4000002u
#define FAILS       3000000u /* the answer to this id is an error */
static const struct line {
	uid_t owner, first, count;
} file[] = {
	{OWNER, 100000, 65536},
	{OWNER, 300000, 1000},
	{LATE_OWNER, 500000, 1000},
	{OTHER_OWNER, 100500, 1000},
};

static atomic_uint questions; /* seq_cst: counted here and by the thread that asks */
static atomic_int ranges_error, owners_error;
static sem_t late;

static bool owns(const struct line *line, uid_t uid)
{
	return uid >= line->first && uid - line->first < line->count;
}

int __wrap_subid_get_uid_owners(uid_t uid, uid_t **owners)
{
	int count = 0;

	questions++;
	if (uid == FAILS) {
		errno = owners_error;
		return -1;
	}
	*owners = malloc(sizeof file);
	for (size_t i = 0; i < sizeof file / sizeof *file; i++)
		if (owns(&file[i], uid))
			(*owners)[count++] = file[i].owner;
	if (count == 1 && **owners == LATE_OWNER)
		sem_wait(&late);
	if (count == 0)
		free(*owners);
	return count;
}

int __wrap_subid_get_uid_ranges(const char *owner, struct subid_range **ranges)
{
	int count = 0;

	if (ranges_error)
		return -1;
	*ranges = malloc(sizeof file / sizeof *file * sizeof **ranges);
	for (size_t i = 0; i < sizeof file / sizeof *file; i++)
		if (file[i].owner == strtoul(owner, NULL, 10))
			(*ranges)[count++] = (struct subid_range){file[i].first, file[i].count};
	return count;
}

static struct engine *engine;
static struct config config;
static struct users users;

static int set_up(void **state)
{
	const struct engine_options options = {.workers = 1};

	(void)state;
	questions = 0;
	ranges_error = owners_error = 0;
	sem_init(&late, 0, 0);
	config_defaults(&config);
	if (engine_new(&options, &engine) < 0)
		return -1;
	users_init(&users, &config);
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
	struct user *user = NULL;
	char text[VDM_REFUSAL_TEXT] = "";

	if (user_get(&users, uid, &user, text) < 0)
		fail_msg("user %u: %s", (unsigned)uid, text);
	return user;
}

/* Also for users that have sessions already. */
static void the_configuration_decides_whose_turn_it_is(void **state)
{
	struct user_config section = {.uid = 5, .weight = 300, .priority = CONFIG_PRIORITY_HIGH};
	struct user *user = get(5);
	struct engine_account *account;

	(void)state;
	assert_int_equal(engine_account_new(engine, &account), 0);
	user_set_account(user, account);
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
	user_set_account(user, NULL);
	engine_account_delete(account);
	users_configure(&users); /* without an account there is nothing to be told */
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

/* Take a reference for a moment. */
static struct user *look_at(uid_t uid)
{
	struct user *user = get(uid);

	user_put(user);
	return user;
}

/* However many they are, their owner is asked for once. */
static void subordinate_ids_are_their_owner(void **state)
{
	struct user_config section = {.uid = OWNER, .weight = 7};

	(void)state;
	config.users = &section;
	config.user_count = 1;

	struct user *owner = get(165535);

	assert_int_equal(owner->uid, OWNER);
	assert_int_equal(owner->settings.weight, 7);
	assert_int_equal(owner->log_limit.account, OWNER);
	for (uid_t uid = 100000; uid < 165536; uid += 50)
		assert_ptr_equal(look_at(uid), owner);
	assert_ptr_equal(look_at(300999), owner);
	assert_ptr_equal(look_at(OWNER), owner);
	assert_int_equal(questions, 1);
	assert_ptr_not_equal(look_at(301000), owner);
	assert_int_equal(look_at(99999)->uid, 99999);
	assert_int_equal(questions, 3);

	/* what is known is forgotten with the owner */
	user_put(owner);
	users_sweep(&users, true);
	assert_int_equal(look_at(100000)->uid, OWNER);
	assert_int_equal(questions, 4);
	config.users = NULL;
	config.user_count = 0;
}

static void the_owner_may_have_been_there_before(void **state)
{
	struct user *owner = get(OWNER);

	(void)state;
	assert_ptr_equal(look_at(100000), owner);
	user_put(owner);
}

/* Each id of ranges that overlap is asked for, and remembered. */
static void of_several_owners_the_lowest_counts(void **state)
{
	(void)state;
	assert_int_equal(look_at(101000)->uid, OWNER);
	assert_int_equal(look_at(101001)->uid, OWNER);
	assert_int_equal(look_at(101000)->uid, OWNER);
	assert_int_equal(questions, 2);
}

static void without_ranges_each_id_is_remembered(void **state)
{
	(void)state;
	ranges_error = 1;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(look_at(100000)->uid, OWNER);
		assert_int_equal(look_at(100001)->uid, OWNER);
	}
	assert_int_equal(questions, 2);
}

static void users_of_the_system_are_not_asked_about(void **state)
{
	(void)state;
	assert_int_equal(look_at(0)->uid, 0);
	assert_int_equal(look_at(SUBORDINATE_FIRST - 1)->uid, SUBORDINATE_FIRST - 1);
	assert_int_equal(questions, 0);
	look_at(SUBORDINATE_FIRST);
	assert_int_equal(questions, 1);
}

static void an_id_whose_owner_cannot_be_found_out_is_a_user(void **state)
{
	char text[VDM_REFUSAL_TEXT];
	struct user *user;

	(void)state;
	owners_error = ENOMEM;
	assert_int_equal(user_get(&users, FAILS, &user, text), -EAGAIN);
	assert_false(users.failure_told);
	owners_error = EIO;
	log_set_level(LOG_ERR);
	assert_int_equal(look_at(FAILS)->uid, FAILS);
	assert_true(users.failure_told);
}

/* An answer that is late keeps nobody, and is there when the client comes again. */
static void a_late_answer_keeps_no_other_user(void **state)
{
	const uint64_t begin = monotonic_ns();
	char text[VDM_REFUSAL_TEXT];
	struct user *known = get(OWNER), *user;
	unsigned hurried = 0;

	(void)state;
	assert_int_equal(user_get(&users, 500000, &user, text), -EAGAIN);
	assert_non_null(strstr(text, "try again later"));
	assert_true(monotonic_ns() - begin >= ACCOUNT_LOOKUP_WAIT_MS * 1000000ull);

	/* the thread that asks is busy: nothing waits for it */
	const uint64_t busy = monotonic_ns();

	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(user_get(&users, 500001, &user, text), -EAGAIN);
	assert_true(monotonic_ns() - busy < 20 * ACCOUNT_LOOKUP_WAIT_MS * 1000000ull);
	assert_int_equal(questions, 2);
	assert_ptr_equal(look_at(OWNER), known);
	assert_int_equal(look_at(33)->uid, 33);

	sem_post(&late);
	while (user_get(&users, 500002, &user, text) < 0) /* the other's answer tells that, too */
		usleep(1000);
	assert_int_equal(user->uid, LATE_OWNER);
	assert_int_equal(questions, 2);
	user_put(user);
	user_put(known);

	/* for a while, other late answers are not waited for as long */
	users_sweep(&users, true);
	for (unsigned i = 0; i < 4; i++) {
		const uint64_t again = monotonic_ns();

		assert_int_equal(user_get(&users, 500000, &user, text), -EAGAIN);
		hurried += monotonic_ns() - again < ACCOUNT_LOOKUP_WAIT_MS * 1000000ull;
		sem_post(&late);
		while (user_get(&users, 500000, &user, text) < 0)
			usleep(1000);
		user_put(user);
		users_sweep(&users, true);
	}
	assert_true(hurried > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(sessions_of_a_user_share_one_object),
		TEST(the_configuration_decides_whose_turn_it_is),
		TEST(connecting_again_and_again_is_limited),
		TEST(a_user_is_remembered_for_as_long_as_messages_are_counted),
		TEST(a_new_configuration_reaches_users_that_are_there),
		TEST(subordinate_ids_are_their_owner),
		TEST(the_owner_may_have_been_there_before),
		TEST(of_several_owners_the_lowest_counts),
		TEST(without_ranges_each_id_is_remembered),
		TEST(users_of_the_system_are_not_asked_about),
		TEST(an_id_whose_owner_cannot_be_found_out_is_a_user),
		TEST(a_late_answer_keeps_no_other_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
