/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whose turn it is: deficit round robin (Shreedhar and Varghese, SIGCOMM 1995) over accounts, in bytes
 * by weight, and under each account over its queues, in bytes. So opening more rings or more connections
 * gains an account nothing, and neither does asking for larger operations.
 *
 * Only queues that are polled are here. One that has been quiet leaves, and its producer rings a
 * doorbell to bring it back, so that silent clients cost the others nothing.
 */
#include <stddef.h>

#include "barrier.h"
#include "internal.h"
#include "space.h"

/* Bytes that a turn is worth: a few batches, or a piece of a large operation, of the size that is cut just now. */
static int64_t quantum(const struct engine *engine)
{
	return engine->accounts_polled > 1 ? PIECE_OTHERS : PIECE_SHARED;
}

/* Rings that are used seldom are polled for spin_us >> 3. */
#define MOST_IMPATIENCE 3

/* Whose queue it may be within the account, or NULL if none is ready. */
static struct engine_queue *account_pick(struct engine_account *account)
{
	bool ready;

	do {
		ready = false;
		for (unsigned n = account->polled; n > 0; n--) {
			struct engine_queue *queue = TAILQ_FIRST(&account->queues);

			if (queue_ready(queue)) {
				if (queue->credit >= 0)
					return queue;
				ready = true;
				queue->credit += quantum(account->engine);
			} else if (queue->credit > 0) {
				queue->credit = 0; /* credit is for those who have something to do */
			}
			TAILQ_REMOVE(&account->queues, queue, entry);
			TAILQ_INSERT_TAIL(&account->queues, queue, entry);
		}
	} while (ready); /* in debt, all of them: another round brings them nearer */
	return NULL;
}

struct engine_queue *scheduler_pick(struct engine *engine)
{
	bool ready;

	do {
		ready = false;
		for (unsigned n = engine->accounts_polled; n > 0; n--) {
			struct engine_account *account = TAILQ_FIRST(&engine->accounts);
			struct engine_queue *queue = account_pick(account);

			if (queue) {
				if (account->credit >= 0)
					return queue;
				ready = true;
				account->credit += quantum(engine);
			} else if (account->credit > 0) {
				account->credit = 0;
			}
			TAILQ_REMOVE(&engine->accounts, account, entry);
			TAILQ_INSERT_TAIL(&engine->accounts, account, entry);
		}
	} while (ready);
	return NULL;
}

void scheduler_charge(struct engine_queue *queue, size_t cost)
{
	queue->touched = true;
	queue->credit -= (int64_t)cost;
	queue->account->credit -= (int64_t)(cost * 100 / queue->account->weight);
	queue->engine->backlog += cost;
}

/*
 * Polling pays if the next operation comes while it is done, and costs its CPU for nothing if it comes later. What the
 * last gap was, the next is likely to be: so a ring that is used now and then is soon polled for an eighth of the time.
 */
static void learn_gap(struct engine_queue *queue, uint64_t now)
{
	/* relaxed; partner: engine_set_spin() */
	uint64_t spin_ns = atomic_load_explicit(&queue->engine->spin_us, memory_order_relaxed) * 1000ull;

	if (queue->quiet_since == 0)
		return; /* there has been none */
	if (now - queue->quiet_since <= spin_ns)
		queue->impatience = 0;
	else if (queue->impatience < MOST_IMPATIENCE)
		queue->impatience++;
}

void scheduler_poll(struct engine_queue *queue, uint64_t now)
{
	learn_gap(queue, now);

	struct engine_account *account = queue->account;
	struct engine *engine = queue->engine;

	/* relaxed: a doorbell more is harmless, and the next look at the ring comes after this anyway;
	 * partner: the client's submit */
	atomic_store_explicit(&queue->daemon_line->doorbell_wanted, 0, memory_order_relaxed);
	queue->polled = true;
	queue->touched = true;
	queue->credit = 0;
	TAILQ_INSERT_TAIL(&account->queues, queue, entry);
	account->polled++;
	if (account->stuck > 0)
		return; /* suspended */
	engine->queues_polled++;
	if (account->polled == 1) {
		TAILQ_INSERT_TAIL(&engine->accounts, account, entry);
		engine->accounts_polled++;
	}
}

void scheduler_unpoll(struct engine_queue *queue)
{
	struct engine_account *account = queue->account;
	struct engine *engine = queue->engine;

	queue->polled = false;
	TAILQ_REMOVE(&account->queues, queue, entry);
	account->polled--;
	if (account->stuck > 0)
		return; /* suspended */
	engine->queues_polled--;
	if (account->polled == 0) {
		TAILQ_REMOVE(&engine->accounts, account, entry);
		engine->accounts_polled--;
	}
}

void scheduler_suspend(struct engine_account *account)
{
	struct engine *engine = account->engine;

	if (account->stuck++ > 0 || account->polled == 0)
		return;
	TAILQ_REMOVE(&engine->accounts, account, entry);
	engine->accounts_polled--;
	engine->queues_polled -= account->polled;
}

void scheduler_resume(struct engine_account *account)
{
	struct engine *engine = account->engine;

	if (--account->stuck > 0 || account->polled == 0)
		return;
	TAILQ_INSERT_TAIL(&engine->accounts, account, entry);
	engine->accounts_polled++;
	engine->queues_polled += account->polled;
}

/* Whether a queue has been quiet for long enough, and nothing of it is in progress. */
static bool is_quiet(struct engine_queue *queue, uint64_t now, uint64_t patience)
{
	if (queue->touched) {
		queue->touched = false;
		queue->quiet_since = now;
	}
	/* Its worker is not done; or queue_ready() cannot tell while the space is edited. */
	if (queue->busy || queue->jobs_active > 0 || queue->space->paused)
		return false;
	return now - queue->quiet_since >= patience >> queue->impatience;
}

/* Announce that nobody will look at the ring. */
static void announce(struct engine_queue *queue)
{
	uint32_t ring = queue->retirements + 1;

	queue->retirements = ring ? ring : 1; /* never zero */
	queue->retiring = true;
	/* release, then the barrier in scheduler_retire_quiet(); partner: the client's submit, which publishes,
	 * passes a barrier or is passed through ours, and reads this */
	atomic_store_explicit(&queue->daemon_line->doorbell_wanted, queue->retirements,
			      memory_order_release);
}

/* After the barrier: what was published before it is seen now, and else the doorbell will ring. */
static void retire(struct engine_queue *queue)
{
	queue->retiring = false;
	if (queue_ready(queue))
		/* relaxed: a doorbell more is harmless */
		atomic_store_explicit(&queue->daemon_line->doorbell_wanted, 0, memory_order_relaxed);
	else
		scheduler_unpoll(queue);
}

void scheduler_retire_quiet(struct engine *engine, uint64_t now)
{
	/* relaxed; partner: engine_set_spin() */
	uint64_t patience = atomic_load_explicit(&engine->spin_us, memory_order_relaxed) * 1000ull;
	struct engine_account *account, *next_account;
	struct engine_queue *queue, *next;
	bool any = false;

	TAILQ_FOREACH(account, &engine->accounts, entry)
		TAILQ_FOREACH(queue, &account->queues, entry)
			if (is_quiet(queue, now, patience)) {
				announce(queue);
				any = true;
			}
	if (!any)
		return;
	/* Announce, full barrier, look again: only then is the doorbell relied on (I6). One for all of them. */
	barrier_for_all();
	for (account = TAILQ_FIRST(&engine->accounts); account; account = next_account) {
		next_account = TAILQ_NEXT(account, entry);
		for (queue = TAILQ_FIRST(&account->queues); queue; queue = next) {
			next = TAILQ_NEXT(queue, entry);
			if (queue->retiring)
				retire(queue);
		}
	}
}
