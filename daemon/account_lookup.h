/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Asks whose a user id is without letting the event loop wait for long. Another thread asks, since
 * the answer may come from a service that is slow or that hangs (nsswitch.conf(5)).
 */
#ifndef VDM_DAEMON_ACCOUNT_LOOKUP_H
#define VDM_DAEMON_ACCOUNT_LOOKUP_H

#include <stdbool.h>

#include "subordinate.h"

/* How long a question may keep the event loop. */
#define ACCOUNT_LOOKUP_WAIT_MS 40

/*
 * After an answer that took longer, a question may keep it for this long only, until so many times
 * ACCOUNT_LOOKUP_WAIT_MS have passed.
 */
#define ACCOUNT_LOOKUP_HURRY_MS    4
#define ACCOUNT_LOOKUP_HURRY_TIMES 8

/*
 * Ask whose `uid` is. Returns 0; or -EAGAIN if the answer is late, or an earlier one is, or there
 * is no room for it. On the event loop's thread.
 */
int account_lookup(uid_t uid, struct subordinate *answer);

/* Take the answer that was late, if it has come by now. To be called before the next question. */
bool account_lookup_late(struct subordinate *answer);

#endif
