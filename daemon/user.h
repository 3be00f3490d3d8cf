/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who pays: all sessions of one user id share one budget and one turn, so that opening more connections
 * gains nothing. Everything that a session holds is charged here when it is taken and given back when it is
 * freed; when the user's last session ends, all of it has to be back.
 */
#ifndef VDM_DAEMON_USER_H
#define VDM_DAEMON_USER_H

#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "config.h"
#include "engine/engine.h"
#include "log.h"
#include "proto/control.h"

/* What is charged; the limits are named in user.c. Bytes in flight are the engine's to count. */
enum resource {
	RESOURCE_SESSIONS,
	RESOURCE_RINGS,
	RESOURCE_ENTRIES,
	RESOURCE_REGIONS,
	RESOURCE_MAPPED_BYTES,
	RESOURCE_DESCRIPTORS,
	RESOURCE_COUNT
};

/* What somebody's things have of the reaper; guarded by its lock. */
struct reaper_share {
	unsigned threads;     /* that are at them */
	unsigned descriptors; /* that he has passed, and that wait for one */
};

struct user {
	LIST_ENTRY(user) entry;
	uid_t uid;
	unsigned references;             /* sessions, and what is being reaped */
	unsigned reaping;                /* what is being reaped */
	uint64_t reaped_ns;              /* when something last was, or there was nothing to reap */
	struct reaper_share reaper_share;
	uint64_t used[RESOURCE_COUNT];
	uint64_t handshakes;             /* that he may still make, as of... */
	uint64_t handshakes_ns;          /* ...this time */
	struct user_config settings;     /* in force */
	struct engine_account *account;
};

LIST_HEAD(user_list, user);

/* The user's object, made if there is none yet. Returns 0 or a negative errno. */
int user_get(struct user_list *users, struct engine *engine, const struct config *config, uid_t uid,
	     struct user **user);

/*
 * Give it back. It stays for a second after the last one, so that what he did in it is remembered; users_sweep() then
 * frees it.
 */
void user_put(struct user *user);

/* Free the objects that nobody has needed for a while, or with `all` those that nobody needs. */
void users_sweep(struct user_list *users, bool all);

/* Take `amount` more, unless that would be over the limit: -EDQUOT, with a sentence that names it. */
int user_charge(struct user *user, enum resource resource, uint64_t amount, char text[VDM_REFUSAL_TEXT]);
void user_release(struct user *user, enum resource resource, uint64_t amount);

/* Whether he may connect once more in this second: 0 or -EDQUOT, with a sentence. */
int user_handshake(struct user *user, char text[VDM_REFUSAL_TEXT]);

/* The configuration has changed. */
void users_configure(struct user_list *users, const struct config *config);

#endif
