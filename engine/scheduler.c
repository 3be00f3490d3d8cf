/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler.h"

#include "base/barrier.h"
#include "memory.h"
#include "queue.h"

/* Bytes that the turn of a queue is worth: a few batches, or a piece of a large operation. */
#define QUANTUM ((int64_t)PIECE_SHARED)

/* A queue owes no more than this for one operation, so that its credit cannot overflow. */
#define MOST_COST ((size_t)1 << 48)

/* Rings that are used seldom are polled for spin_us >> 3. */
#define MOST_SPIN_SHIFT 3

void scheduler_init(struct scheduler *scheduler, uint32_t spin_us)
{
	*scheduler = (struct scheduler){0};
	for (unsigned i = 0; i < PRIORITIES; i++)
		TAILQ_INIT(&scheduler->accounts[i]);
	scheduler_set_spin(scheduler, spin_us);
}

void scheduler_set_spin(struct scheduler *scheduler, uint32_t spin_us)
{
	atomic_store_explicit(&scheduler->spin_us, spin_us, memory_order_relaxed);
}

static uint64_t spin_ns(const struct scheduler *scheduler)
{
	return atomic_load_explicit(&scheduler->spin_us, memory_order_relaxed) * 1000ull;
}

static struct queue_list *queues_like(struct engine_queue *queue)
{
	return &queue->account->queues[ENGINE_PRIORITY_HIGH - queue->turn.priority];
}

static struct account_list *accounts_like(struct scheduler *scheduler,
					  const struct engine_account *account)
{
	return &scheduler->accounts[ENGINE_PRIORITY_HIGH - account->priority];
}

/* All that are ready are in debt: as many rounds pass as the least of them needs. */
static void advance_credit(struct queue_list *queues, int64_t debt)
{
	const int64_t earned = (debt + QUANTUM - 1) / QUANTUM * QUANTUM;
	struct engine_queue *queue;

	TAILQ_FOREACH(queue, queues, turn.entry)
		if (queue->turn.ready)
			queue->turn.credit += earned;
}

/* Whose turn it is among queues of one priority, or NULL if none is ready. */
static struct engine_queue *pick_queue(struct queue_list *queues)
{
	const struct engine_queue *last = TAILQ_LAST(queues, queue_list);
	struct engine_queue *queue = NULL, *best = NULL;

	while (queue != last) {
		queue = TAILQ_FIRST(queues);
		queue->turn.ready = queue_ready(queue);
		if (queue->turn.ready && queue->turn.credit >= 0)
			return queue;
		if (!queue->turn.ready && queue->turn.credit > 0)
			queue->turn.credit = 0; /* credit is for queues that have something to do */
		if (queue->turn.ready && (!best || queue->turn.credit > best->turn.credit))
			best = queue;
		TAILQ_REMOVE(queues, queue, turn.entry);
		TAILQ_INSERT_TAIL(queues, queue, turn.entry);
	}
	if (best)
		advance_credit(queues, -best->turn.credit);
	return best;
}

static struct engine_queue *account_pick(struct engine_account *account)
{
	struct engine_queue *queue = NULL;

	for (unsigned i = 0; i < PRIORITIES && !queue; i++)
		if (!TAILQ_EMPTY(&account->queues[i]))
			queue = pick_queue(&account->queues[i]);
	return queue;
}

/* Idle time earns no credit: advance the account's virtual time to the present one. */
static void catch_up(const struct scheduler *scheduler, struct engine_account *account)
{
	uint64_t now = scheduler->virtual_time[ENGINE_PRIORITY_HIGH - account->priority];

	if (account->virtual_time < now)
		account->virtual_time = now;
}

/* Whose turn it is among accounts of one priority: the one that has been served least. */
static struct engine_queue *pick_account(struct scheduler *scheduler, unsigned list)
{
	struct engine_queue *queue, *best = NULL;
	struct engine_account *account;

	TAILQ_FOREACH(account, &scheduler->accounts[list], entry) {
		queue = account_pick(account);
		if (!queue)
			catch_up(scheduler, account);
		else if (!best || account->virtual_time < best->account->virtual_time)
			best = queue;
	}
	if (best && best->account->virtual_time > scheduler->virtual_time[list])
		scheduler->virtual_time[list] = best->account->virtual_time;
	return best;
}

struct engine_queue *scheduler_pick(struct scheduler *scheduler)
{
	struct engine_queue *queue = NULL;

	for (unsigned i = 0; i < PRIORITIES && !queue; i++)
		if (!TAILQ_EMPTY(&scheduler->accounts[i]))
			queue = pick_account(scheduler, i);
	return queue;
}

static uint64_t by_weight(const struct engine_account *account, size_t cost)
{
	return cost * ORDINARY_WEIGHT / account->weight;
}

void scheduler_charge(struct scheduler *scheduler, struct engine_queue *queue, size_t cost)
{
	queue->turn.touched = true;
	queue->turn.credit -= (int64_t)(cost < MOST_COST ? cost : MOST_COST);
	queue->account->virtual_time += by_weight(queue->account, cost);
	scheduler->backlog += cost;
}

void scheduler_charge_account(struct engine_account *account, size_t cost)
{
	account->virtual_time += by_weight(account, cost);
}

void scheduler_refund(struct engine_queue *queue, size_t cost)
{
	struct engine_account *account = queue->account;
	uint64_t refund = by_weight(account, cost);

	queue->turn.credit += (int64_t)cost;
	/* weight and priority may have changed since it was charged */
	account->virtual_time -= refund < account->virtual_time ? refund : account->virtual_time;
}

/*
 * Polling pays if the next operation comes meanwhile, and burns its CPU for nothing if it comes
 * later. As the last gap was, so the next is likely to be: a ring that is used now and then is soon
 * polled for an eighth of the time.
 */
static void learn_gap(const struct scheduler *scheduler, struct turn *turn, uint64_t now)
{
	if (turn->quiet_since == 0)
		return; /* there has been none */
	if (now - turn->quiet_since <= spin_ns(scheduler))
		turn->spin_shift = 0;
	else if (turn->spin_shift < MOST_SPIN_SHIFT)
		turn->spin_shift++;
}

static void list_account(struct scheduler *scheduler, struct engine_account *account)
{
	catch_up(scheduler, account);
	TAILQ_INSERT_TAIL(accounts_like(scheduler, account), account, entry);
}

static void unlist_account(struct scheduler *scheduler, struct engine_account *account)
{
	TAILQ_REMOVE(accounts_like(scheduler, account), account, entry);
}

void scheduler_poll(struct scheduler *scheduler, struct engine_queue *queue, uint64_t now)
{
	struct engine_account *account = queue->account;

	learn_gap(scheduler, &queue->turn, now);
	consumer_want_doorbell(&queue->consumer, false);
	queue->turn.polled = true;
	queue->turn.touched = true;
	queue->turn.retired_paused = false;
	queue->turn.credit = 0;
	TAILQ_INSERT_TAIL(queues_like(queue), queue, turn.entry);
	account->polled++;
	if (account->stuck_workers > 0)
		return; /* suspended */
	scheduler->queues_polled++;
	if (account->polled == 1) {
		list_account(scheduler, account);
		scheduler->accounts_polled++;
	}
}

void scheduler_unpoll(struct scheduler *scheduler, struct engine_queue *queue)
{
	struct engine_account *account = queue->account;

	queue->turn.polled = false;
	TAILQ_REMOVE(queues_like(queue), queue, turn.entry);
	account->polled--;
	if (account->stuck_workers > 0)
		return; /* suspended */
	scheduler->queues_polled--;
	if (account->polled == 0) {
		unlist_account(scheduler, account);
		scheduler->accounts_polled--;
	}
}

void scheduler_suspend(struct scheduler *scheduler, struct engine_account *account)
{
	if (account->stuck_workers++ > 0 || account->polled == 0)
		return;
	unlist_account(scheduler, account);
	scheduler->accounts_polled--;
	scheduler->queues_polled -= account->polled;
}

void scheduler_resume(struct scheduler *scheduler, struct engine_account *account)
{
	if (--account->stuck_workers > 0 || account->polled == 0)
		return;
	list_account(scheduler, account);
	scheduler->accounts_polled++;
	scheduler->queues_polled += account->polled;
}

void scheduler_set_turn(struct scheduler *scheduler, struct engine_account *account,
			unsigned weight, enum engine_priority priority)
{
	bool listed = account->stuck_workers == 0 && account->polled > 0;

	account->weight = weight < 1 ? 1 : weight > 1000 ? 1000 : weight;
	if (account->priority == priority)
		return;
	if (listed)
		unlist_account(scheduler, account);
	account->priority = priority;
	/* accounts there have been served other amounts: it begins with the least of those */
	account->virtual_time = 0;
	if (listed)
		list_account(scheduler, account);
}

/* Whether a queue has been quiet for long enough, and no worker has to do with it. */
static bool is_quiet(struct engine_queue *queue, uint64_t now, uint64_t patience)
{
	struct turn *turn = &queue->turn;

	if (turn->touched) {
		turn->touched = false;
		turn->quiet_since = now;
	}
	/* if it is ready, it waits for its turn */
	if (queue->leased || flights_need_worker(&queue->flights) || queue_ready(queue))
		return false;
	return now - turn->quiet_since >= patience >> turn->spin_shift;
}

static bool announce_quiet(struct engine_account *account, uint64_t now, uint64_t patience)
{
	struct engine_queue *queue;
	bool any = false;

	for (unsigned i = 0; i < PRIORITIES; i++)
		TAILQ_FOREACH(queue, &account->queues[i], turn.entry)
			if (is_quiet(queue, now, patience)) {
				queue->turn.retiring = true;
				consumer_want_doorbell(&queue->consumer, true);
				any = true;
			}
	return any;
}

/* After the barrier: what was published before it is seen now, and else the doorbell will ring. */
static void retire_announced(struct scheduler *scheduler, struct engine_account *account)
{
	struct engine_queue *queue, *next;

	for (unsigned i = 0; i < PRIORITIES; i++)
		for (queue = TAILQ_FIRST(&account->queues[i]); queue; queue = next) {
			next = TAILQ_NEXT(queue, turn.entry);
			if (!queue->turn.retiring)
				continue;
			queue->turn.retiring = false;
			queue->turn.retired_paused = queue->memory->paused > 0;
			if (queue_ready(queue))
				consumer_want_doorbell(&queue->consumer, false);
			else
				scheduler_unpoll(scheduler, queue);
		}
}

void scheduler_retire_quiet(struct scheduler *scheduler, uint64_t now)
{
	const uint64_t patience = spin_ns(scheduler);
	struct engine_account *account, *next;
	bool any = false;

	for (unsigned i = 0; i < PRIORITIES; i++)
		TAILQ_FOREACH(account, &scheduler->accounts[i], entry)
			any |= announce_quiet(account, now, patience);
	if (!any)
		return;
	/* Announce, full barrier, look again: only then is the doorbell relied on (I6). One for all
	 * of them. */
	barrier_for_all();
	for (unsigned i = 0; i < PRIORITIES; i++)
		for (account = TAILQ_FIRST(&scheduler->accounts[i]); account; account = next) {
			next = TAILQ_NEXT(account, entry);
			retire_announced(scheduler, account);
		}
}
