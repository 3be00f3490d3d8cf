/* SPDX-License-Identifier: BSD-3-Clause */
#include "scheduler.h"

#include "base/barrier.h"
#include "memory.h"
#include "queue.h"

/* Bytes that the turn of a queue is worth: a few batches, or a piece of a large operation. */
#define QUANTUM ((int64_t)PIECE_SHARED)

/* How many queues of a list a pick looks at, so that it costs no more where there are many; and how
 * many of a list are looked at together because they may have been quiet. The others are next. */
#define PICK_LOOKS   8
#define RETIRE_LOOKS 16

/* How often quiet queues are looked for: the barrier that they need interrupts other CPUs. */
#define RETIRE_NS 20000

/* What leaving one to its doorbell costs, in bytes: its part in a barrier, and two looks. */
#define RETIRE_COST 2048

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

static struct polled_queues *queues_like(struct engine_queue *queue)
{
	return &queue->account->queues[ENGINE_PRIORITY_HIGH - queue->turn.priority];
}

static struct queue_list *list_of(struct engine_queue *queue)
{
	struct polled_queues *queues = queues_like(queue);

	return queue->turn.ready ? &queues->ready : &queues->idle;
}

static void set_ready(struct engine_queue *queue, bool ready)
{
	TAILQ_REMOVE(list_of(queue), queue, turn.entry);
	queue->turn.ready = ready;
	TAILQ_INSERT_TAIL(list_of(queue), queue, turn.entry);
}

void scheduler_notice(struct engine_queue *queue)
{
	if (queue->turn.polled && !queue->turn.ready && queue_ready(queue))
		set_ready(queue, true);
}

static struct account_list *accounts_like(struct scheduler *scheduler,
					  const struct engine_account *account)
{
	return &scheduler->accounts[ENGINE_PRIORITY_HIGH - account->priority];
}

static void move_to_tail(struct queue_list *list, struct engine_queue *queue)
{
	TAILQ_REMOVE(list, queue, turn.entry);
	TAILQ_INSERT_TAIL(list, queue, turn.entry);
}

/* Look at some queues that had nothing to do. */
static void look_at_idle(struct polled_queues *queues)
{
	const struct engine_queue *last = TAILQ_LAST(&queues->idle, queue_list);
	struct engine_queue *queue = NULL;

	for (unsigned looks = 0; looks < PICK_LOOKS && queue != last; looks++) {
		queue = TAILQ_FIRST(&queues->idle);
		TAILQ_REMOVE(&queues->idle, queue, turn.entry);
		queue->turn.ready = queue_ready(queue);
		if (queue->turn.ready)
			TAILQ_INSERT_TAIL(&queues->ready, queue, turn.entry);
		else
			TAILQ_INSERT_TAIL(&queues->idle, queue, turn.entry);
	}
}

/*
 * The first queue cannot be served now. It stays among the ready ones while a worker has it in
 * hand, and for another round if it has been served since the last time: many a producer waits for
 * a completion, and submits again.
 */
static void pass_over(struct polled_queues *queues, struct engine_queue *queue)
{
	struct turn *turn = &queue->turn;

	TAILQ_REMOVE(&queues->ready, queue, turn.entry);
	if (!queue->leased) {
		if (turn->credit > QUANTUM)
			turn->credit = QUANTUM; /* no more than one turn is saved */
		turn->ready = turn->served;
		turn->served = false;
	}
	if (turn->ready)
		TAILQ_INSERT_TAIL(&queues->ready, queue, turn.entry);
	else
		TAILQ_INSERT_TAIL(&queues->idle, queue, turn.entry);
}

/* So many queues are in debt: as many rounds pass as the least of them needs. */
static void advance_credit(struct engine_queue *const queues[], unsigned count, int64_t debt)
{
	const int64_t earned = (debt + QUANTUM - 1) / QUANTUM * QUANTUM;

	for (unsigned i = 0; i < count; i++)
		queues[i]->turn.credit += earned;
}

/* The turn of the last one is over: whose it is next, or NULL if none is found ready. */
static struct engine_queue *next_turn(struct polled_queues *queues)
{
	const struct engine_queue *last = TAILQ_LAST(&queues->ready, queue_list);
	struct engine_queue *queue = NULL, *best = NULL, *in_debt[PICK_LOOKS];
	unsigned count = 0;

	for (unsigned looks = 0; looks < PICK_LOOKS && queue != last; looks++) {
		queue = TAILQ_FIRST(&queues->ready);
		if (!queue_ready(queue)) {
			pass_over(queues, queue);
			continue;
		}
		if (queue->turn.credit >= 0)
			return queue;
		move_to_tail(&queues->ready, queue);
		if (!best || queue->turn.credit > best->turn.credit)
			best = queue;
		in_debt[count++] = queue;
	}
	if (best)
		advance_credit(in_debt, count, -best->turn.credit);
	return best;
}

/* The first queue has nothing to do, or its turn is over. Not inlined: mostly neither is so. */
static __attribute__((noinline)) struct engine_queue *pick_other(struct polled_queues *queues)
{
	const struct engine_queue *last = TAILQ_LAST(&queues->ready, queue_list);
	struct engine_queue *queue = NULL;

	for (unsigned looks = 0; looks < PICK_LOOKS && queue != last; looks++) {
		queue = TAILQ_FIRST(&queues->ready);
		if (queue_ready(queue)) {
			if (queue->turn.credit >= 0)
				return queue;
			if (queue != last || !TAILQ_EMPTY(&queues->idle))
				break;
			advance_credit(&queue, 1, -queue->turn.credit); /* it is alone */
			return queue;
		}
		pass_over(queues, queue);
	}
	look_at_idle(queues);
	return next_turn(queues);
}

/* Whose turn it is among queues of one priority, or NULL if none is found ready. */
static struct engine_queue *pick_queue(struct polled_queues *queues)
{
	struct engine_queue *queue = TAILQ_FIRST(&queues->ready);

	if (queue && queue->turn.credit >= 0 && queue_ready(queue))
		return queue;
	if (!queue && TAILQ_EMPTY(&queues->idle))
		return NULL;
	return pick_other(queues);
}

static struct engine_queue *account_pick(struct engine_account *account)
{
	struct engine_queue *queue = NULL;

	for (unsigned i = 0; i < PRIORITIES && !queue; i++)
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
		if (best && account->virtual_time >= best->account->virtual_time)
			continue;
		queue = account_pick(account);
		if (!queue)
			catch_up(scheduler, account);
		else
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
	queue->turn.served = true;
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
	queue->turn.ready = true; /* as far as is known */
	queue->turn.served = false;
	TAILQ_INSERT_TAIL(list_of(queue), queue, turn.entry);
	account->polled++;
	if (account->stuck_workers > 0)
		return; /* suspended */
	scheduler->queues_polled++;
	if (account->polled == 1) {
		list_account(scheduler, account);
		scheduler->accounts_polled++;
	}
}

/* It has been taken out of its list. */
static void leave(struct scheduler *scheduler, struct engine_queue *queue)
{
	struct engine_account *account = queue->account;

	queue->turn.polled = false;
	account->polled--;
	if (account->stuck_workers > 0)
		return; /* suspended */
	scheduler->queues_polled--;
	if (account->polled == 0) {
		unlist_account(scheduler, account);
		scheduler->accounts_polled--;
	}
}

void scheduler_unpoll(struct scheduler *scheduler, struct engine_queue *queue)
{
	TAILQ_REMOVE(list_of(queue), queue, turn.entry);
	leave(scheduler, queue);
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
	if (now - turn->quiet_since < patience >> turn->spin_shift)
		return false;
	/* if it is ready, it waits for its turn */
	return !queue->leased && !flights_need_worker(&queue->flights) && !queue_ready(queue);
}

/* Announce of the quiet ones among some queues that no worker looks at them, and move them to
 * `retiring`. The others are `rotated`, or keep their places. */
static void announce_quiet(struct scheduler *scheduler, struct queue_list *list, bool rotated,
			   struct queue_list *retiring, uint64_t now)
{
	const uint64_t patience = spin_ns(scheduler);
	const struct engine_queue *last = TAILQ_LAST(list, queue_list);
	struct engine_queue *queue = NULL, *next = TAILQ_FIRST(list);

	for (unsigned looks = 0; looks < RETIRE_LOOKS && queue != last; looks++) {
		queue = next;
		next = TAILQ_NEXT(queue, turn.entry);
		if (is_quiet(queue, now, patience)) {
			TAILQ_REMOVE(list, queue, turn.entry);
			TAILQ_INSERT_TAIL(retiring, queue, turn.entry);
			consumer_want_doorbell(&queue->consumer, true);
			scheduler_charge_account(queue->account, RETIRE_COST);
			/* a producer rings once for each time, so no more bells are unread */
			if (queue->bell_unread &&
			    queue->consumer.retirements % ENGINE_UNREAD_BELLS == 0)
				queue->bell_unread(queue->context);
		} else if (rotated) {
			move_to_tail(list, queue);
		}
	}
}

static void announce_account(struct scheduler *scheduler, struct engine_account *account,
			     struct queue_list *retiring, uint64_t now)
{
	for (unsigned i = 0; i < PRIORITIES; i++) {
		struct polled_queues *queues = &account->queues[i];

		if (!TAILQ_EMPTY(&queues->ready))
			announce_quiet(scheduler, &queues->ready, false, retiring, now);
		if (!TAILQ_EMPTY(&queues->idle))
			announce_quiet(scheduler, &queues->idle, true, retiring, now);
	}
}

/* After the barrier: what was published before it is seen now, and else the doorbell will ring. */
static void retire_announced(struct scheduler *scheduler, struct queue_list *retiring)
{
	struct engine_queue *queue;

	while ((queue = TAILQ_FIRST(retiring))) {
		TAILQ_REMOVE(retiring, queue, turn.entry);
		queue->turn.retired_paused = queue->memory->paused > 0;
		if (queue_ready(queue)) {
			consumer_want_doorbell(&queue->consumer, false);
			queue->turn.ready = true;
			TAILQ_INSERT_TAIL(list_of(queue), queue, turn.entry);
		} else {
			leave(scheduler, queue);
		}
	}
}

void scheduler_retire_quiet(struct scheduler *scheduler, uint64_t now)
{
	struct queue_list retiring = TAILQ_HEAD_INITIALIZER(retiring);
	struct engine_account *account;

	if (now < scheduler->retire_after)
		return;
	scheduler->retire_after = now + RETIRE_NS;
	for (unsigned i = 0; i < PRIORITIES; i++)
		TAILQ_FOREACH(account, &scheduler->accounts[i], entry)
			announce_account(scheduler, account, &retiring, now);
	if (TAILQ_EMPTY(&retiring))
		return;
	/* Announce, full barrier, look again: only then is the doorbell relied on (I6). One for all
	 * of them. */
	barrier_for_all();
	retire_announced(scheduler, &retiring);
}
