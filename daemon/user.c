/* SPDX-License-Identifier: BSD-3-Clause */
#include "user.h"

#include <errno.h>
#include <search.h>
#include <shadow/subid.h>
#include <stdlib.h>

#include "account_lookup.h"
#include "base/clock.h"
#include "engine/engine.h"
#include "refusal.h"

#define SECOND_NS 1000000000ull
#define IDLE_NS   (LOG_LIMIT_SECONDS * SECOND_NS)

/* Have the engine know the settings. */
static void settle_account(const struct user *user)
{
	static const enum engine_priority priorities[] = {
		[CONFIG_PRIORITY_LOW] = ENGINE_PRIORITY_LOW,
		[CONFIG_PRIORITY_NORMAL] = ENGINE_PRIORITY_NORMAL,
		[CONFIG_PRIORITY_HIGH] = ENGINE_PRIORITY_HIGH,
	};

	if (!user->account)
		return;
	engine_account_set_turn(user->account, (unsigned)user->settings.weight,
				priorities[user->settings.priority]);
	engine_account_set_in_flight(user->account, user->settings.limits.in_flight_bytes_per_user);
}

void user_set_account(struct user *user, struct engine_account *account)
{
	user->account = account;
	settle_account(user);
}

static void user_configure(struct user *user, const struct config *config)
{
	user->settings = config_for_user(config, user->uid);
	settle_account(user);
}

void users_init(struct users *users, const struct config *config)
{
	*users = (struct users){.config = config,
				.totals = totals_in_force(config),
				.book = {.totals = &users->totals}};
	LIST_INIT(&users->list);
	TAILQ_INIT(&users->idle);
}

/* Both point to a user, which begins with its uid, or to a uid. */
static int compare_uids(const void *a, const void *b)
{
	const uid_t first = *(const uid_t *)a, second = *(const uid_t *)b;

	return first < second ? -1 : first > second;
}

/* Ranges that overlap are equal, so one finds the range of an id. */
static int compare_ranges(const void *a, const void *b)
{
	const struct id_range *first = a, *second = b;

	return first->last < second->first ? -1 : first->first > second->last;
}

static struct user *find(const struct users *users, uid_t uid)
{
	const struct id_range range = {.first = uid, .last = uid};
	struct user *const *user = tfind(&uid, &users->by_uid, compare_uids);
	struct id_range *const *found = NULL;

	if (user)
		return *user;
	if (uid >= SUBORDINATE_FIRST)
		found = tfind(&range, &users->subordinate, compare_ranges);
	return found ? (*found)->user : NULL;
}

/*
 * Remember that ids are subordinate to a user. A range that overlaps another is left out: its ids
 * are remembered one by one.
 */
static void add_range(struct user *user, uid_t first, uid_t last)
{
	struct id_range *range = calloc(1, sizeof *range);
	struct id_range **node = NULL;

	if (range) {
		*range = (struct id_range){.first = first, .last = last, .user = user};
		node = tsearch(range, &user->users->subordinate, compare_ranges);
	}
	if (node && *node == range)
		SLIST_INSERT_HEAD(&user->subordinate, range, entry);
	else
		free(range);
}

static void free_ranges(struct user *user)
{
	struct id_range *range;

	while ((range = SLIST_FIRST(&user->subordinate))) {
		SLIST_REMOVE_HEAD(&user->subordinate, entry);
		tdelete(range, &user->users->subordinate, compare_ranges);
		free(range);
	}
}

static void user_free(struct user *user)
{
	LIST_REMOVE(user, entry);
	TAILQ_REMOVE(&user->users->idle, user, idle);
	tdelete(user, &user->users->by_uid, compare_uids);
	free_ranges(user);
	free(user);
}

static void set_idle(struct user *user)
{
	user->idle_since_ns = monotonic_ns();
	TAILQ_INSERT_TAIL(&user->users->idle, user, idle);
}

/* Make a user, to which there is no reference yet. */
static int user_new(struct users *users, uid_t uid, struct user **made)
{
	struct user *user = calloc(1, sizeof *user);

	if (!user)
		return -ENOMEM;
	user->uid = uid;
	user->users = users;
	if (!tsearch(user, &users->by_uid, compare_uids)) {
		free(user);
		return -ENOMEM;
	}
	user->book = (struct book){.sum = &users->book, .settings = &user->settings};
	user->log_limit.account = uid;
	user_configure(user, users->config);
	user->handshakes = user->settings.limits.handshakes_per_second;
	user->handshakes_ns = monotonic_ns();
	LIST_INSERT_HEAD(&users->list, user, entry);
	set_idle(user);
	*made = user;
	return 0;
}

/*
 * Remember all ids of the owner, so that having many of them does not keep the event loop with as
 * many questions.
 */
static void add_ranges(struct user *user, const struct subordinate *answer)
{
	for (int i = 0; i < answer->range_count; i++) {
		const struct subid_range *range = &answer->ranges[i];

		if (range->count > 0 && range->start < (uid_t)-1 &&
		    range->count <= (uid_t)-1 - range->start)
			add_range(user, (uid_t)range->start,
				  (uid_t)(range->start + range->count - 1));
	}
	if (answer->account != answer->uid)
		add_range(user, answer->uid, answer->uid);
}

/* Take over what has been found out about a user id: the user is there from now on. */
static int learn(struct users *users, const struct subordinate *answer, struct user **user)
{
	int result = 0;

	if (answer->failed && !users->failure_told) {
		log_message(LOG_NOTICE, NULL,
			    "the owner of user id %u cannot be found out (subuid in "
			    "nsswitch.conf(5)): such ids count as users of their own",
			    (unsigned)answer->uid);
		users->failure_told = true;
	}
	*user = find(users, answer->account);
	if (!*user)
		result = user_new(users, answer->account, user);
	if (!result)
		add_ranges(*user, answer);
	free(answer->ranges);
	return result;
}

/* Find out whose id that is, which may take until a later call. */
static int look_up(struct users *users, uid_t uid, struct user **user)
{
	struct subordinate answer;

	if (account_lookup_late(&answer)) {
		learn(users, &answer, user);
		*user = find(users, uid);
		if (*user)
			return 0;
	}

	int result = account_lookup(uid, &answer);

	return result ? result : learn(users, &answer, user);
}

int user_get(struct users *users, uid_t uid, struct user **found, char text[VDM_REFUSAL_TEXT])
{
	users_sweep(users, false);

	struct user *user = find(users, uid);
	int result = 0;

	if (!user)
		result = uid < SUBORDINATE_FIRST ? user_new(users, uid, &user)
						 : look_up(users, uid, &user);
	if (result == -EAGAIN)
		return refuse(text, result,
			      "vdmd does not know yet whose user id %u is (subuid in "
			      "nsswitch.conf(5) answers late): try again later",
			      (unsigned)uid);
	if (result)
		return refuse(text, result, "vdmd is out of memory");
	*found = user_ref(user);
	return 0;
}

struct user *user_ref(struct user *user)
{
	if (user->references++ == 0)
		TAILQ_REMOVE(&user->users->idle, user, idle);
	return user;
}

void user_put(struct user *user)
{
	if (--user->references > 0)
		return;
	book_close(&user->book);
	set_idle(user);
}

void users_sweep(struct users *users, bool all)
{
	const uint64_t now = monotonic_ns();
	struct user *user;

	/* the analyzer does not follow the back links of TAILQ_REMOVE() */
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
	while ((user = TAILQ_FIRST(&users->idle)) && (all || now - user->idle_since_ns >= IDLE_NS))
		user_free(user);
}

/* Handshakes are earned at the rate of the limit, and kept for a second. */
int user_handshake(struct user *user, char text[VDM_REFUSAL_TEXT])
{
	const uint64_t limit = user->settings.limits.handshakes_per_second, now = monotonic_ns();
	uint64_t passed = now - user->handshakes_ns;
	uint64_t earned = passed >= SECOND_NS ? limit : passed * limit / SECOND_NS;

	if (earned > 0) {
		user->handshakes =
			user->handshakes + earned < limit ? user->handshakes + earned : limit;
		user->handshakes_ns = now;
	}
	if (user->handshakes == 0)
		return book_refuse(&user->book, "handshakes_per_second", text,
				   "may connect %llu times in a second: wait a moment, or raise",
				   (unsigned long long)limit);
	user->handshakes--;
	return 0;
}

void users_configure(struct users *users)
{
	struct user *user;

	users->totals = totals_in_force(users->config);
	LIST_FOREACH(user, &users->list, entry)
		user_configure(user, users->config);
}
