/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Users. All sessions of a user share one budget and one turn, so that opening more connections
 * gains nothing. The user ids that are subordinate to a user (subordinate.h) are that user, so that
 * having more user ids gains nothing either. Guarded by the house's lock.
 */
#ifndef VDM_DAEMON_USER_H
#define VDM_DAEMON_USER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "books.h"
#include "config.h"
#include "log.h"
#include "proto/control.h"

struct clerk;
struct engine_account;

/* User ids that are subordinate to a user. */
struct id_range {
	uid_t first, last;
	struct user *user;
	SLIST_ENTRY(id_range) entry; /* user::subordinate */
};

struct user {
	uid_t uid;              /* first: users::by_uid compares it */
	LIST_ENTRY(user) entry; /* users::list */
	struct users *users;
	TAILQ_ENTRY(user) idle; /* users::idle, while there is no reference */
	uint64_t idle_since_ns;
	SLIST_HEAD(, id_range) subordinate; /* those that have been needed, and their neighbours */
	unsigned references;                /* of sessions and the clerk */
	struct clerk *clerk;                /* NULL: there is none */
	unsigned clerks;                    /* that one, and those that have not ended */
	struct book book;                   /* of its sessions */
	uint64_t handshakes;                /* left as of handshakes_ns */
	uint64_t handshakes_ns;
	uint64_t totals;    /* how often it may be told anew what all sessions have done, */
	uint64_t totals_ns; /* as of then */
	struct log_limit log_limit;
	struct user_config settings;    /* in force */
	struct engine_account *account; /* the clerk's; NULL: there is none */
};

struct users {
	LIST_HEAD(, user) list;
	void *by_uid;                      /* the same, as tsearch(3) keeps them */
	TAILQ_HEAD(user_queue, user) idle; /* the longest idle is the first */
	void *subordinate;                 /* all users' ranges, by tsearch(3); none overlap */
	bool failure_told;                 /* that an id's owner could not be found out */
	const struct config *config;       /* in force */
	struct totals totals;              /* in force */
	struct book book;                  /* of all users */
};

void users_init(struct users *users, const struct config *config);

/*
 * Take a reference to the object of the user that `uid` is, or is subordinate to. It is made if
 * there is none yet. While it exists, its user ids stay with it. Returns 0, or a negative errno
 * with a sentence: -EAGAIN if it is not known yet whose id that is.
 */
int user_get(struct users *users, uid_t uid, struct user **user, char text[VDM_REFUSAL_TEXT]);

/* The account that the user's settings are to hold for from now on. NULL: none. */
void user_set_account(struct user *user, struct engine_account *account);

/* Take one more reference. */
struct user *user_ref(struct user *user);

/*
 * Give back a reference. After the last one the object stays for LOG_LIMIT_SECONDS, so that its
 * handshakes and the messages about it are remembered; users_sweep() then frees it.
 */
void user_put(struct user *user);

/* Free the objects without references: those idle for so long, or with `all` every one. */
void users_sweep(struct users *users, bool all);

/* Whether the user may connect once more in this second: 0, or -EDQUOT with a sentence. */
int user_handshake(struct user *user, char text[VDM_REFUSAL_TEXT]);

/* Apply a configuration that has changed. */
void users_configure(struct users *users);

#endif
