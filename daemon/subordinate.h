/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which user a user id belongs to. subuid(5) delegates ranges of ids to users, and newuidmap(1)
 * lets a user be each of them. So a subordinate id counts as its owner.
 */
#ifndef VDM_DAEMON_SUBORDINATE_H
#define VDM_DAEMON_SUBORDINATE_H

#include <stdbool.h>
#include <sys/types.h>

struct subid_range;

/*
 * Ids below this one are of the system's own users (login.defs(5), SYS_UID_MAX). They always count
 * as themselves, so a service of the system never waits for another service to tell its owner.
 */
#define SUBORDINATE_FIRST 1000

/* What is known about a user id. */
struct subordinate {
	uid_t uid;
	uid_t account;              /* its owner, or itself if it has none */
	struct subid_range *ranges; /* of the owner; free(3) them */
	int range_count;
	bool failed; /* the owner could not be found out */
};

/*
 * Find out whose id `uid` is. Of several owners the one with the lowest user id counts, and then no
 * ranges are returned, since they overlap. An owner's owner is not asked for.
 *
 * This may ask services of nsswitch.conf(5), so it can take any time. Only one thread may call it:
 * libsubid has static data. Returns 0, or -ENOMEM or -EMFILE if there is no room for an answer.
 */
int subordinate_find(uid_t uid, struct subordinate *answer);

#endif
