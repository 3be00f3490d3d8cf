/* SPDX-License-Identifier: BSD-3-Clause */
#include "user.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "clock.h"
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
	return *(const uint64_t *)((const char *)&user->limits + resources[resource].limit);
}

static void user_configure(struct user *user, const struct config *config)
{
	static const enum engine_priority priorities[] = {
		[CONFIG_PRIORITY_LOW] = ENGINE_PRIORITY_LOW,
		[CONFIG_PRIORITY_NORMAL] = ENGINE_PRIORITY_NORMAL,
		[CONFIG_PRIORITY_HIGH] = ENGINE_PRIORITY_HIGH,
	};
	const struct user_config own = config_for_user(config, user->uid);

	user->limits = own.limits;
	engine_account_set_turn(user->account, (unsigned)own.weight, priorities[own.priority]);
	engine_account_set_in_flight(user->account, user->limits.in_flight_bytes_per_user);
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
	user->handshakes = user->limits.handshakes_per_second;
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

int user_charge(struct user *user, enum resource resource, uint64_t amount, char text[VDM_REFUSAL_TEXT])
{
	const uint64_t limit = limit_of(user, resource), used = user->used[resource];

	if (used > limit || amount > limit - used)
		return refuse(text, -EDQUOT, "user %u may have %llu %s and has %llu: %llu more need a higher %s in "
			      "[limits] of vdmd's configuration", (unsigned)user->uid, (unsigned long long)limit,
			      resources[resource].noun, (unsigned long long)used, (unsigned long long)amount,
			      resources[resource].key);
	user->used[resource] += amount;
	return 0;
}

/* A bucket of handshakes that is full after a quiet second. */
int user_handshake(struct user *user, char text[VDM_REFUSAL_TEXT])
{
	const uint64_t limit = user->limits.handshakes_per_second, now = monotonic_ns();
	uint64_t passed = now - user->handshakes_ns;
	uint64_t earned = passed >= SECOND_NS ? limit : passed * limit / SECOND_NS;

	if (earned > 0) {
		user->handshakes = user->handshakes + earned < limit ? user->handshakes + earned : limit;
		user->handshakes_ns = now;
	}
	if (user->handshakes == 0)
		return refuse(text, -EDQUOT, "user %u may connect %llu times in a second: wait a moment, or raise "
			      "handshakes_per_second in [limits] of vdmd's configuration", (unsigned)user->uid,
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
