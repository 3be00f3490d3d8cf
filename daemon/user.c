/* SPDX-License-Identifier: BSD-3-Clause */
#include "user.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/engine.h"

#define SECOND_NS 1000000000ull

static void user_configure(struct user *user, const struct config *config)
{
	static const enum engine_priority priorities[] = {
		[CONFIG_PRIORITY_LOW] = ENGINE_PRIORITY_LOW,
		[CONFIG_PRIORITY_NORMAL] = ENGINE_PRIORITY_NORMAL,
		[CONFIG_PRIORITY_HIGH] = ENGINE_PRIORITY_HIGH,
	};

	user->settings = config_for_user(config, user->uid);
	engine_account_set_turn(user->account, (unsigned)user->settings.weight,
				priorities[user->settings.priority]);
	engine_account_set_in_flight(user->account, user->settings.limits.in_flight_bytes_per_user);
}

void users_init(struct users *users, struct engine *engine, const struct config *config)
{
	*users = (struct users){.engine = engine,
				.config = config,
				.totals = totals_in_force(config),
				.book = {.totals = &users->totals}};
	LIST_INIT(&users->list);
}

static int user_new(struct users *users, uid_t uid, struct user **made)
{
	struct user *user = calloc(1, sizeof *user);
	int result = user ? engine_account_new(users->engine, &user->account) : -ENOMEM;

	if (result) {
		free(user);
		return result;
	}
	user->uid = uid;
	user->book = (struct book){.sum = &users->book, .settings = &user->settings};
	user_configure(user, users->config);
	user->handshakes = user->settings.limits.handshakes_per_second;
	user->handshakes_ns = monotonic_ns();
	LIST_INSERT_HEAD(&users->list, user, entry);
	*made = user;
	return 0;
}

int user_get(struct users *users, uid_t uid, struct user **found)
{
	struct user *user;

	users_sweep(users, false);
	LIST_FOREACH(user, &users->list, entry) {
		/* LIST_REMOVE() has unlinked what users_sweep() has freed */
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		if (user->uid == uid) {
			*found = user_ref(user);
			return 0;
		}
	}

	int result = user_new(users, uid, &user);

	if (!result)
		*found = user_ref(user);
	return result;
}

struct user *user_ref(struct user *user)
{
	user->references++;
	return user;
}

void user_put(struct user *user)
{
	if (--user->references == 0)
		book_close(&user->book);
}

void users_sweep(struct users *users, bool all)
{
	uint64_t now = monotonic_ns();
	struct user *user, *next;

	for (user = LIST_FIRST(&users->list); user; user = next) {
		next = LIST_NEXT(user, entry);
		if (user->references > 0 || (!all && now - user->handshakes_ns < SECOND_NS))
			continue;
		LIST_REMOVE(user, entry);
		engine_account_delete(user->account);
		/* the analyzer does not follow the back links of LIST_REMOVE() */
		free(user); /* NOLINT(clang-analyzer-unix.Malloc) */
	}
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
