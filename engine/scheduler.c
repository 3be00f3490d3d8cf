/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whose turn it is. Accounts by start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): each is served what the
 * others are, in bytes by weight, and who has had nothing to do for a moment is next, with no credit for it. Under each
 * account its queues by deficit round robin (Shreedhar and Varghese, SIGCOMM 1995), in bytes, which costs less where
 * there are many. So opening more rings or more connections gains an account nothing, and neither does asking for larger
 * operations. Those of a higher priority go first, accounts and then queues.
 *
 * Only queues that are polled are here. One that has been quiet leaves, and its producer rings a
 * doorbell to bring it back, so that silent clients cost the others nothing.
 */
#include <stddef.h>

#include "base/barrier.h"
#include "internal.h"
#include "memory.h"

/* Bytes that the turn of a queue is worth: a few batches, or a piece of a large operation. */
#define QUANTUM ((int64_t)PIECE_SHARED)

/* Rings that are used seldom are polled for spin_us >> 3. */
#define MOST_IMPATIENCE 3

static struct queue_list *queues_like(struct engine_queue *queue)
{
	return &queue->account->queues[ENGINE_PRIORITY_HIGH - queue->priority];
}

static struct account_list *accounts_like(struct engine_account *account)
{
	return &account->engine->accounts[ENGINE_PRIORITY_HIGH - account->priority];
}

/* Whose turn it is among queues of one priority, or NULL if none is ready. */
static struct engine_queue *pick_queue(struct queue_list *queues)
{
	struct engine_queue *queue, *last;
	bool ready;

	do {
		ready = false;
		last = TAILQ_LAST(queues, queue_list);
		for (queue = NULL; queue != last;) {
			queue = TAILQ_FIRST(queues);
			if (queue_ready(queue)) {
				if (queue->credit >= 0)
					return queue;
				ready = true;
				queue->credit += QUANTUM;
			} else if (queue->credit > 0) {
				queue->credit = 0; /* credit is for those who have something to do */
			}
			TAILQ_REMOVE(queues, queue, entry);
			TAILQ_INSERT_TAIL(queues, queue, entry);
		}
	} while (ready); /* in debt, all of them: another round brings them nearer */
	return NULL;
}

static struct engine_queue *account_pick(struct engine_account *account)
{
	struct engine_queue *queue = NULL;

	for (unsigned i = 0; i < PRIORITIES && !queue; i++)
		queue = pick_queue(&account->queues[i]);
	return queue;
}

/* Who has something to do now has no credit for the time in which he had not. */
static void catch_up(struct engine_account *account)
{
	uint64_t now = account->engine->served[ENGINE_PRIORITY_HIGH - account->priority];

	if (account->served < now)
		account->served = now;
}

/* The same among accounts of one priority: who has been served least. */
static struct engine_queue *pick_account(struct account_list *accounts, uint64_t *served)
{
	struct engine_queue *queue, *best = NULL;
	struct engine_account *account;

	TAILQ_FOREACH(account, accounts, entry) {
		queue = account_pick(account);
		if (!queue)
			catch_up(account);
		else if (!best || account->served < best->account->served)
			best = queue;
	}
	if (best && best->account->served > *served)
		*served = best->account->served;
	return best;
}

struct engine_queue *scheduler_pick(struct engine *engine)
{
	struct engine_queue *queue = NULL;

	for (unsigned i = 0; i < PRIORITIES && !queue; i++)
		queue = pick_account(&engine->accounts[i], &engine->served[i]);
	return queue;
}

static uint64_t by_weight(const struct engine_account *account, size_t cost)
{
	return cost * ORDINARY_WEIGHT / account->weight;
}

void scheduler_charge(struct engine_queue *queue, size_t cost)
{
	queue->touched = true;
	queue->credit -= (int64_t)cost;
	queue->account->served += by_weight(queue->account, cost);
	queue->engine->backlog += cost;
}

void scheduler_refund(struct engine_queue *queue, size_t cost)
{
	struct engine_account *account = queue->account;
	uint64_t refund = by_weight(account, cost);

	queue->credit += (int64_t)cost;
	/* weight and priority may have changed since it was charged */
	account->served -= refund < account->served ? refund : account->served;
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

static void enlist(struct engine_account *account)
{
	catch_up(account);
	TAILQ_INSERT_TAIL(accounts_like(account), account, entry);
}

void scheduler_poll(struct engine_queue *queue, uint64_t now)
{
	learn_gap(queue, now);

	struct engine_account *account = queue->account;
	struct engine *engine = queue->engine;

	/* relaxed: a doorbell more is harmless, and the next look at the ring comes after this anyway;
	 * partner: the client's ring_doorbell() */
	atomic_store_explicit(&queue->daemon_line->doorbell_wanted, 0, memory_order_relaxed);
	queue->polled = true;
	queue->touched = true;
	queue->credit = 0;
	TAILQ_INSERT_TAIL(queues_like(queue), queue, entry);
	account->polled++;
	if (account->stuck > 0)
		return; /* suspended */
	engine->queues_polled++;
	if (account->polled == 1) {
		enlist(account);
		engine->accounts_polled++;
	}
}

void scheduler_unpoll(struct engine_queue *queue)
{
	struct engine_account *account = queue->account;
	struct engine *engine = queue->engine;

	queue->polled = false;
	TAILQ_REMOVE(queues_like(queue), queue, entry);
	account->polled--;
	if (account->stuck > 0)
		return; /* suspended */
	engine->queues_polled--;
	if (account->polled == 0) {
		TAILQ_REMOVE(accounts_like(account), account, entry);
		engine->accounts_polled--;
	}
}

void scheduler_suspend(struct engine_account *account)
{
	struct engine *engine = account->engine;

	if (account->stuck++ > 0 || account->polled == 0)
		return;
	TAILQ_REMOVE(accounts_like(account), account, entry);
	engine->accounts_polled--;
	engine->queues_polled -= account->polled;
}

void scheduler_resume(struct engine_account *account)
{
	struct engine *engine = account->engine;

	if (--account->stuck > 0 || account->polled == 0)
		return;
	enlist(account);
	engine->accounts_polled++;
	engine->queues_polled += account->polled;
}

void scheduler_set_priority(struct engine_account *account, enum engine_priority priority)
{
	bool listed = account->stuck == 0 && account->polled > 0;

	if (account->priority == priority)
		return;
	if (listed)
		TAILQ_REMOVE(accounts_like(account), account, entry);
	account->priority = priority;
	account->served = 0; /* others have been served other amounts there: it begins with the least of those */
	if (listed)
		enlist(account);
}

/* Whether a queue has been quiet for long enough, and nothing of it is in progress. */
static bool is_quiet(struct engine_queue *queue, uint64_t now, uint64_t patience)
{
	if (queue->touched) {
		queue->touched = false;
		queue->quiet_since = now;
	}
	/* Its worker is not done; or queue_ready() cannot tell while regions are being removed; or it waits for its turn. */
	if (queue->busy || queue->jobs_active > 0 || queue->memory->paused || queue_ready(queue))
		return false;
	return now - queue->quiet_since >= patience >> queue->impatience;
}

/* Announce that nobody will look at the ring. */
static void announce(struct engine_queue *queue)
{
	uint32_t ring = queue->retirements + 1;

	queue->retirements = ring ? ring : 1; /* never zero */
	queue->retiring = true;
	/* release, then the barrier in scheduler_retire_quiet(); partner: the client's ring_doorbell(), which after
	 * publishing passes a barrier, or is passed through ours, and reads this */
	atomic_store_explicit(&queue->daemon_line->doorbell_wanted, queue->retirements,
			      memory_order_release);
}

static bool announce_quiet(struct engine_account *account, uint64_t now, uint64_t patience)
{
	struct engine_queue *queue;
	bool any = false;

	for (unsigned i = 0; i < PRIORITIES; i++)
		TAILQ_FOREACH(queue, &account->queues[i], entry)
			if (is_quiet(queue, now, patience)) {
				announce(queue);
				any = true;
			}
	return any;
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

static void retire_announced(struct engine_account *account)
{
	struct engine_queue *queue, *next;

	for (unsigned i = 0; i < PRIORITIES; i++)
		for (queue = TAILQ_FIRST(&account->queues[i]); queue; queue = next) {
			next = TAILQ_NEXT(queue, entry);
			if (queue->retiring)
				retire(queue);
		}
}

void scheduler_retire_quiet(struct engine *engine, uint64_t now)
{
	/* relaxed; partner: engine_set_spin() */
	uint64_t patience = atomic_load_explicit(&engine->spin_us, memory_order_relaxed) * 1000ull;
	struct engine_account *account, *next;
	bool any = false;

	for (unsigned i = 0; i < PRIORITIES; i++)
		TAILQ_FOREACH(account, &engine->accounts[i], entry)
			any |= announce_quiet(account, now, patience);
	if (!any)
		return;
	/* Announce, full barrier, look again: only then is the doorbell relied on (I6). One for all of them. */
	barrier_for_all();
	for (unsigned i = 0; i < PRIORITIES; i++)
		for (account = TAILQ_FIRST(&engine->accounts[i]); account; account = next) {
			next = TAILQ_NEXT(account, entry);
			retire_announced(account);
		}
}
