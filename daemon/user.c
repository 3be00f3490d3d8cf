/* SPDX-License-Identifier: BSD-3-Clause */
#include "user.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "refusal.h"

#define SECOND_NS 1000000000ull

static const struct {
	const char *noun, *key;
	size_t limit; /* offset in struct limits */
} resources[RESOURCE_COUNT] = {
#define RESOURCE(noun, key) {noun, #key, offsetof(struct limits, key)}
	[RESOURCE_SESSIONS] = RESOURCE("sessions", sessions_per_user),
	[RESOURCE_RINGS] = RESOURCE("rings", rings_per_user),
	[RESOURCE_ENTRIES] = RESOURCE("entries of rings", entries_per_user),
	[RESOURCE_REGIONS] = RESOURCE("regions", regions_per_user),
	[RESOURCE_MAPPED_BYTES] = RESOURCE("bytes of regions", mapped_bytes_per_user),
	[RESOURCE_DESCRIPTORS] = RESOURCE("descriptors", descriptors_per_user),
};

static uint64_t limit_of(const struct user *user, enum resource resource)
{
	return *(const uint64_t *)((const char *)&user->settings.limits + resources[resource].limit);
}

static void user_configure(struct user *user, const struct config *config)
{
	static const enum engine_priority priorities[] = {
		[CONFIG_PRIORITY_LOW] = ENGINE_PRIORITY_LOW,
		[CONFIG_PRIORITY_NORMAL] = ENGINE_PRIORITY_NORMAL,
		[CONFIG_PRIORITY_HIGH] = ENGINE_PRIORITY_HIGH,
	};

	user->settings = config_for_user(config, user->uid);
	engine_account_set_turn(user->account, (unsigned)user->settings.weight, priorities[user->settings.priority]);
	engine_account_set_in_flight(user->account, user->settings.limits.in_flight_bytes_per_user);
}

int user_get(struct user_list *users, struct engine *engine, const struct config *config, uid_t uid,
	     struct user **found)
{
	struct user *user;

	users_sweep(users, false);
	LIST_FOREACH(user, users, entry) {
		if (user->uid == uid) {
			user->references++;
			*found = user;
			return 0;
		}
	}
	user = calloc(1, sizeof *user);
	if (!user)
		return -ENOMEM;

	int result = engine_account_new(engine, &user->account);

	if (result) {
		free(user);
		return result;
	}
	user->uid = uid;
	user->references = 1;
	user_configure(user, config);
	user->handshakes = user->settings.limits.handshakes_per_second;
	user->handshakes_ns = monotonic_ns();
	LIST_INSERT_HEAD(users, user, entry);
	*found = user;
	return 0;
}

void user_put(struct user *user)
{
	if (--user->references > 0)
		return;
	for (unsigned i = 0; i < RESOURCE_COUNT; i++) {
		if (user->used[i] != 0) {
			log_message(LOG_CRIT, NULL, "user %u has no sessions but %llu of resource %u",
				    (unsigned)user->uid, (unsigned long long)user->used[i], i);
			abort(); /* a leak that would lock him out in the end: better found now */
		}
	}
}

void users_sweep(struct user_list *users, bool all)
{
	uint64_t now = monotonic_ns();
	struct user *user, *next;

	for (user = LIST_FIRST(users); user; user = next) {
		next = LIST_NEXT(user, entry);
		if (user->references > 0 || (!all && now - user->handshakes_ns < SECOND_NS))
			continue;
		LIST_REMOVE(user, entry);
		engine_account_delete(user->account);
		free(user);
	}
}

/* A limit that is too low for what the user wants, and where the operator finds it. */
static int refuse_for_limit(const struct user *user, const char *limit, char text[VDM_REFUSAL_TEXT],
			    const char *format, ...) __attribute__((format(printf, 4, 5)));
static int refuse_for_limit(const struct user *user, const char *limit, char text[VDM_REFUSAL_TEXT],
			    const char *format, ...)
{
	char what[VDM_REFUSAL_TEXT], section[CONFIG_NAME_TEXT + 8] = "limits";
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof what, format, arguments);
	va_end(arguments);
	if (config_is_users_own(&user->settings, limit))
		snprintf(section, sizeof section, "user %s", user->settings.name);
	return refuse(text, -EDQUOT, "user %u %s %s in [%s] of vdmd's configuration", (unsigned)user->uid, what, limit,
		      section);
}

int user_charge(struct user *user, enum resource resource, uint64_t amount, char text[VDM_REFUSAL_TEXT])
{
	const uint64_t limit = limit_of(user, resource), used = user->used[resource];

	if (used > limit || amount > limit - used)
		return refuse_for_limit(user, resources[resource].key, text,
					"may have %llu %s and has %llu: %llu more need a higher",
					(unsigned long long)limit, resources[resource].noun, (unsigned long long)used,
					(unsigned long long)amount);
	user->used[resource] += amount;
	return 0;
}

/* A bucket of handshakes that is full after a quiet second. */
int user_handshake(struct user *user, char text[VDM_REFUSAL_TEXT])
{
	const uint64_t limit = user->settings.limits.handshakes_per_second, now = monotonic_ns();
	uint64_t passed = now - user->handshakes_ns;
	uint64_t earned = passed >= SECOND_NS ? limit : passed * limit / SECOND_NS;

	if (earned > 0) {
		user->handshakes = user->handshakes + earned < limit ? user->handshakes + earned : limit;
		user->handshakes_ns = now;
	}
	if (user->handshakes == 0)
		return refuse_for_limit(user, "handshakes_per_second", text,
					"may connect %llu times in a second: wait a moment, or raise",
					(unsigned long long)limit);
	user->handshakes--;
	return 0;
}

void user_release(struct user *user, enum resource resource, uint64_t amount)
{
	user->used[resource] -= amount;
}

void users_configure(struct user_list *users, const struct config *config)
{
	struct user *user;

	LIST_FOREACH(user, users, entry)
		user_configure(user, config);
}
