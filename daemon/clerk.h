/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A clerk: the thread that serves one user's sessions. It takes what the user's porter hands on,
 * and does all that a client may make slow: it opens, maps, unmaps and closes clients' memory, and
 * waits for workers to let go of it. So a user waits for its own clerk. The kernel gives clerks
 * their turns, by the time that they use.
 *
 * Clerk and porter come with the user's first session and end some time after the last.
 */
#ifndef VDM_DAEMON_CLERK_H
#define VDM_DAEMON_CLERK_H

#include <stdbool.h>

#include "proto/control.h"

struct clerk;
struct house;
struct log_peer;
struct user;

/* All of these are called by the thread of the event loop, with the house's lock held. */

/*
 * Start clerk and porter of a user that has none. Returns 0 or a negative errno; -EBUSY: those
 * that it had have not ended.
 */
int clerk_start(struct house *house, struct user *user, struct clerk **clerk);

/* Whether its porter has ended. The clerk will notice, and end, too: the user needs another. */
bool clerk_is_alone(const struct clerk *clerk);

/*
 * Begin a session for a client that has connected. Returns 0, and then the socket is the clerk's,
 * which hands it to the porter; or a negative errno with a sentence.
 */
int clerk_admit(struct clerk *clerk, const struct log_peer *peer, int socket,
		char text[VDM_REFUSAL_TEXT]);

/*
 * Have a client told that it gets no session, and hung up on. Returns 0, and then the socket is the
 * clerk's; or a negative errno.
 */
int clerk_refuse(struct clerk *clerk, int socket, const struct vdm_message_refused *refused);

/* Have all end, once house->stopping is set. */
void clerks_stop(struct house *house);

#endif
