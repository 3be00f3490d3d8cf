/* SPDX-License-Identifier: BSD-3-Clause */
#include "answer.h"

#include "base/clock.h"

/* How many bells are taken at a time, in all and of one account: 0.2 us each, for which other rings
 * wait. */
#define BELLS_AT_ONCE    ACCOUNTS_AT_ONCE
#define BELLS_OF_ACCOUNT 8

/* A doorbell that was rung, in bytes: finding it, and taking its queue in. */
#define DOORBELL_COST 2048

/* The bells that are taken at a time, by account. */
struct rung {
	unsigned accounts;
	struct {
		struct engine_account *account;
		int count;
		struct epoll_event *events;
	} of[ACCOUNTS_AT_ONCE];
	struct epoll_event events[BELLS_AT_ONCE];
};

/* Keep the accounts that have rung from being deleted meanwhile. */
static void hold_accounts(struct doorbells *doorbells, const struct epoll_event *events, int count,
			  struct rung *rung)
{
	for (int i = 0; i < count; i++) {
		struct engine_account *account;

		if (doorbells_kicked(doorbells, &events[i]))
			continue;
		account = bells_owner(&doorbells->accounts, events[i].data.u64);
		if (!account)
			continue;
		account->listeners++;
		rung->of[rung->accounts++].account = account;
	}
}

/* Without the lock, since a thread that adds a doorbell may hold up an account's epoll. */
static void take_bells(struct rung *rung)
{
	const size_t share = BELLS_AT_ONCE / rung->accounts;
	const size_t most = share < BELLS_OF_ACCOUNT ? share : BELLS_OF_ACCOUNT;

	for (unsigned i = 0; i < rung->accounts; i++) {
		rung->of[i].events = &rung->events[i * most];
		rung->of[i].count = epoll_wait(rung->of[i].account->bells.epoll_fd,
					       rung->of[i].events, (int)most, 0);
	}
}

static void answer(struct scheduler *scheduler, struct engine_queue *queue, uint64_t now)
{
	if (!queue->turn.polled)
		scheduler_poll(scheduler, queue, now);
	scheduler_notice(queue);
	/* also of a queue that is polled: its bell has been taken all the same */
	scheduler_charge_account(queue->account, DOORBELL_COST);
	queue->bells_answered++;
}

static void release_account(struct engine *engine, struct engine_account *account)
{
	if (--account->listeners == 0)
		crew_tell_progress(&engine->crew, &account->wait);
}

void answer_doorbells(struct engine *engine, const struct epoll_event *events, int count)
{
	struct rung rung;

	rung.accounts = 0;
	hold_accounts(&engine->doorbells, events, count, &rung);
	if (rung.accounts == 0)
		return;
	crew_unlock(&engine->crew);
	take_bells(&rung);

	const uint64_t now = monotonic_ns();

	crew_lock(&engine->crew);
	for (unsigned i = 0; i < rung.accounts; i++) {
		struct engine_account *account = rung.of[i].account;

		for (int n = 0; n < rung.of[i].count; n++) {
			struct engine_queue *queue =
				bells_owner(&account->bells, rung.of[i].events[n].data.u64);

			if (queue)
				answer(&engine->scheduler, queue, now);
		}
		release_account(engine, account);
	}
}
