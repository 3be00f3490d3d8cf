/* SPDX-License-Identifier: BSD-3-Clause */
/* One that pays for bytes, a user id in the daemon: its part in the turns, and its bytes in
 * flight. */
#ifndef VDM_ENGINE_ACCOUNT_H
#define VDM_ENGINE_ACCOUNT_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/queue.h>

#include "bells.h"
#include "engine.h"
#include "sender.h"
#include "wait.h"

/* Lists by priority: the highest is the first. */
#define PRIORITIES (ENGINE_PRIORITY_HIGH - ENGINE_PRIORITY_LOW + 1)

#define ORDINARY_WEIGHT 100

TAILQ_HEAD(queue_list, engine_queue);

/* The polled queues of one priority. */
struct polled_queues {
	struct queue_list ready; /* in the order of their turns; were ready at the last look */
	struct queue_list idle;  /* were not; the one that was looked at last is the last */
};

struct engine_account {
	struct engine *engine;

	/* The scheduler's, guarded by the crew's lock: */
	TAILQ_ENTRY(engine_account) entry; /* in accounts_like(), while it has polled queues */
	struct polled_queues queues[PRIORITIES];
	unsigned polled; /* how many those are */
	unsigned weight;
	enum engine_priority priority;
	uint64_t virtual_time;  /* bytes that it has been served, by weight */
	unsigned stuck_workers; /* while there is one, the account is not in accounts_like() */

	struct bells bells; /* the doorbells of its queues, edge-triggered */
	uint64_t bell;      /* in struct doorbells, which tells that some of them have rung */
	/* Guarded by the crew's lock: */
	unsigned listeners; /* workers that take bells of it without the lock */
	struct wait wait;   /* for those */

	struct sender sender; /* of its signals */

	/* Bytes of its flights. relaxed: a sum, which orders nothing. Partners: each other's
	 * callers */
	_Atomic uint64_t in_flight, most_in_flight;
};

TAILQ_HEAD(account_list, engine_account);

/* An account without an engine. Returns 0 or a negative errno. */
int account_new(struct engine_account **account);
void account_free(struct engine_account *account);

/* More bytes in flight: 0, or -EDQUOT if there would be too many. Any thread. */
int account_charge(struct engine_account *account, uint64_t bytes);
void account_release(struct engine_account *account, uint64_t bytes);

#endif
