/* SPDX-License-Identifier: BSD-3-Clause */
#include "user.h"

#include <errno.h>
#include <stdlib.h>

static void user_configure(struct user *user, const struct config *config)
{
	uint64_t weight;

	config_for_user(config, user->uid, &user->limits, &weight);
	engine_account_set_weight(user->account, (unsigned)weight);
}

int user_get(struct user_list *users, struct engine *engine, const struct config *config, uid_t uid,
	     struct user **found)
{
	struct user *user;

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

	int result = engine_account_new(engine, 1, &user->account);

	if (result) {
		free(user);
		return result;
	}
	user->uid = uid;
	user->references = 1;
	user_configure(user, config);
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
	LIST_REMOVE(user, entry);
	engine_account_delete(user->account);
	free(user);
}

int user_charge(struct user *user, enum resource resource, uint64_t amount, uint64_t limit)
{
	if (user->used[resource] > limit || amount > limit - user->used[resource])
		return -EDQUOT;
	user->used[resource] += amount;
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
