/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operations of a mover.
 *
 * States of a slot, and what changes them:
 *
 *   NEW -> RUNNING       its poller, holding the lock, before the operation is on the ring
 *   RUNNING -> COMPLETE  the thread that collects its completion, holding the lock, if it has no waker
 *   RUNNING -> DUE       the same thread, if it has one
 *   DUE -> WAKING        the thread that calls the waker, holding the lock
 *   DUE -> COMPLETE      its poller, holding the lock: a poller that looks need not be woken
 *   WAKING -> COMPLETE   the thread that called the waker, without the lock, after the waker has returned
 *   WAKING -> SEEN       its poller, which has looked before that
 *   SEEN -> WAKING       the thread that called the waker, before it calls it once more
 *
 * The waker is called between the operation's end and the moment that its poller sees it complete, so a poller that
 * has seen it may free what the waker uses. A poller that is woken and looks too early is not lost: it waits a moment
 * for the call to return, which mostly it is about to do, and else (the waker may be waiting for a lock that the
 * poller holds) it is told RUNNING and is woken again. A waker may poll its own future to its end, wait for another
 * one, and delete the mover: `calls` tells which wakers this thread is in.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "cancellation.h"
#include "op/kernels.h"
#include "error.h"
#include "fork.h"
#include "mover_internal.h"
#include "ring_internal.h"
#include "write_back.h"

/* How often a poller lets others run before it leaves a waker that is being called to return in its own time. */
#define PATIENCE 100

/* The wakers that this thread is calling, the innermost first: one that waits for a future may lead to another. */
struct call {
	struct slot *slot;  /* NULL once it has been polled to its end */
	struct call *outer;
};
static _Thread_local struct call *calls;

bool mover_in_waker(void)
{
	return calls != NULL;
}

static void set_state(struct slot *slot, enum slot_state state)
{
	/* release; partner: state_of() */
	atomic_store_explicit(&slot->state, state, memory_order_release);
}

static enum slot_state state_of(const struct slot *slot)
{
	/* acquire; partner: set_state(): who sees COMPLETE sees the result, and the bytes moved */
	return (enum slot_state)atomic_load_explicit(&slot->state, memory_order_acquire);
}

static void *op_new(struct vdm *vdm, const enum vdm_operation_type type)
{
	struct mover *mover = (struct mover *)vdm;
	struct slot *slot = mover_take_slot(mover);

	(void)type;
	if (!slot)
		return NULL;
	slot->mover = mover;
	slot->result = 0;
	slot->notified = false;
	slot->waker = (struct future_waker){0};
	slot->word = 0;
	atomic_store_explicit(&slot->state, SLOT_NEW, memory_order_relaxed); /* nobody else knows it */
	return slot;
}

/* Translate; what is unknown becomes something that the ring refuses. */
static void fill_sqe(const struct mover *mover, struct vdm_sqe *sqe, const struct vdm_operation *operation)
{
	const struct vdm_operation_data_memcpy *copy = &operation->data.memcpy;
	const struct vdm_operation_data_memset *set = &operation->data.memset;
	const struct vdm_operation_data_flush *flush = &operation->data.flush;
	uint64_t flags = 0;

	switch (operation->type) {
	case VDM_OPERATION_MEMCPY:
		vdm_prep_memcpy(sqe, copy->dest, copy->src, copy->n, 0);
		flags = copy->flags;
		break;
	case VDM_OPERATION_MEMMOVE: /* laid out as memcpy's */
		vdm_prep_memmove(sqe, copy->dest, copy->src, copy->n, 0);
		flags = copy->flags;
		break;
	case VDM_OPERATION_MEMSET:
		vdm_prep_memset(sqe, set->str, set->c, set->n, 0);
		flags = set->flags;
		break;
	case VDM_OPERATION_FLUSH:
		vdm_prep_flush(sqe, flush->dest, flush->n, 0);
		flags = flush->flags;
		break;
	default:
		sqe->opcode = UINT8_MAX;
	}
	if (flags & VDM_F_NO_CACHE_HINT)
		sqe->flags |= VDM_SQE_NO_CACHE;
	if (flags & VDM_F_MEM_DURABLE & ~mover->vdm.capabilities)
		sqe->flags |= VDM_SQE_DURABLE; /* that is refused */
	if (flags & ~(uint64_t)VDM_F_VALID_FLAGS)
		sqe->flags |= 1u << 15; /* reserved */
}

/* Without a ring: here and now. */
static int run_here(const struct mover *mover, const struct vdm_operation *operation)
{
	const struct kernels *kernels = kernels_default();
	struct vdm_sqe sqe = {0};

	fill_sqe(mover, &sqe, operation);
	if (sqe.opcode > VDM_OP_FLUSH || (sqe.flags & ~VDM_SQE_NO_CACHE))
		return sqe.flags == VDM_SQE_DURABLE ? -EOPNOTSUPP : -EINVAL;

	unsigned flags = sqe.flags ? KERNEL_NO_CACHE : 0;

	if (sqe.opcode == VDM_OP_FLUSH)
		atomic_thread_fence(memory_order_seq_cst);
	else if (sqe.length == 0)
		return 0; /* the pointers may be NULL */
	else if (sqe.opcode == VDM_OP_MEMSET)
		kernels->set(sqe.dest, (int)sqe.value, sqe.length, flags);
	else
		(sqe.opcode == VDM_OP_MEMCPY ? kernels->copy : kernels->move)(sqe.dest, sqe.src, sqe.length,
									      flags);
	return 0;
}

static struct vdm_ring *choose_ring(struct mover *mover, const struct vdm_operation *operation)
{
	const struct vdm_operation_data_memcpy *copy = &operation->data.memcpy;
	const struct vdm_operation_data_memset *set = &operation->data.memset;

	if (mover->second) {
		if (operation->type == VDM_OPERATION_MEMSET
			    ? ring_offloads(mover->ring[1], set->str, NULL, set->n)
			    : operation->type != VDM_OPERATION_FLUSH &&
				      ring_offloads(mover->ring[1], copy->dest, copy->src, copy->n))
			return mover->ring[1];
	}
	return mover->ring[0];
}

/* A flush goes through the first ring, and has to wait for what is in the second as well. */
static bool may_start(const struct mover *mover, const struct vdm_operation *operation)
{
	return operation->type != VDM_OPERATION_FLUSH || mover->rings < 2 ||
	       ring_in_flight(mover->ring[1]) == 0;
}

/* Have the poller of a running operation notified; holding the lock. */
static void notify(struct mover *mover, struct slot *slot, struct future_notifier *notifier)
{
	notifier->notifier_used = FUTURE_NOTIFIER_NONE;
	if (mover->notifier == FUTURE_NOTIFIER_NONE || !waker_thread_engage(mover))
		return;
	if (mover->notifier == FUTURE_NOTIFIER_WAKER) {
		if (!notifier->waker.wake)
			return;
		slot->waker = notifier->waker;
	} else {
		notifier->poller.ptr_to_monitor = &slot->word;
	}
	notifier->notifier_used = mover->notifier;
	if (!slot->notified) {
		slot->notified = true;
		if (mover->notified++ == 0)
			pthread_cond_signal(&mover->waker.work);
	}
}

/* The operation runs already: perhaps it is to notify another than before. */
static void renotify(struct slot *slot, struct future_notifier *notifier)
{
	struct mover *mover = slot->mover;
	bool same = mover->notifier == FUTURE_NOTIFIER_POLLER ||
		    (slot->waker.wake == notifier->waker.wake &&
		     slot->waker.data == notifier->waker.data);

	notifier->notifier_used = FUTURE_NOTIFIER_NONE;
	if (fork_happened(mover->epoch) || state_of(slot) != SLOT_RUNNING)
		return;
	if (slot->notified && same) {
		notifier->notifier_used = mover->notifier;
		if (mover->notifier == FUTURE_NOTIFIER_POLLER)
			notifier->poller.ptr_to_monitor = &slot->word;
		return;
	}
	pthread_mutex_lock(&mover->lock);
	if (state_of(slot) == SLOT_RUNNING)
		notify(mover, slot, notifier);
	pthread_mutex_unlock(&mover->lock);
}

static int complete_now(struct slot *slot, int result)
{
	slot->result = result;
	set_state(slot, SLOT_COMPLETE);
	return 0;
}

static int op_start(void *data, const struct vdm_operation *operation,
		    struct future_notifier *notifier)
{
	WITHOUT_CANCELLATION;
	struct slot *slot = data;
	struct mover *mover = slot->mover;

	if (state_of(slot) != SLOT_NEW) {
		renotify(slot, notifier);
		return 0;
	}
	if (notifier)
		notifier->notifier_used = FUTURE_NOTIFIER_NONE;
	if (fork_happened(mover->epoch))
		return complete_now(slot, fork_error());
	if (mover->rings == 0)
		return complete_now(slot, run_here(mover, operation));

	pthread_mutex_lock(&mover->lock);
	mover_reconnect(mover);

	struct vdm_ring *ring = choose_ring(mover, operation);
	struct vdm_sqe *sqe = may_start(mover, operation) ? vdm_ring_get_sqe(ring) : NULL;

	if (!sqe) {
		mover_collect(mover);
		sqe = may_start(mover, operation) ? vdm_ring_get_sqe(ring) : NULL;
	}
	if (sqe) {
		fill_sqe(mover, sqe, operation);
		sqe->user_data = slot->index;
		slot->fresh = true;
		set_state(slot, SLOT_RUNNING);
		vdm_ring_submit(ring);
		if (ring_unseen(ring) > 0) /* what ran in this thread is complete already */
			mover_collect(mover);
		if (notifier && state_of(slot) == SLOT_RUNNING)
			notify(mover, slot, notifier);
	}
	mover_leave(mover);
	return sqe ? 0 : -EAGAIN;
}

/* The completion of one operation has come. */
static void finish(struct mover *mover, struct slot *slot, int result)
{
	slot->result = result;
	if (slot->notified)
		mover->notified--;
	/* relaxed; for a poller that monitors the word: it then polls, and that reads the state */
	__atomic_store_n(&slot->word, 1, __ATOMIC_RELAXED);
	if (!slot->waker.wake) {
		set_state(slot, SLOT_COMPLETE);
		return;
	}
	set_state(slot, SLOT_DUE);
	TAILQ_INSERT_TAIL(&mover->due, slot, due);
}

void mover_collect(struct mover *mover)
{
	for (unsigned i = 0; i < mover->rings; i++) {
		struct vdm_ring *ring = mover->ring[i];

		ring_poll(ring);
		while (ring_unseen(ring) > 0) {
			const struct vdm_cqe *cqe = &ring->cqes[ring->cqe_head & (ring->entries - 1)];

			finish(mover, mover_slot(mover, (uint32_t)cqe->user_data), cqe->result);
			vdm_ring_cq_advance(ring, 1);
		}
	}
}

/* Complete, unless the poller has looked too early: then it has to be woken again. */
static bool waker_returned(struct slot *slot)
{
	uint32_t state = SLOT_WAKING;

	/* release; partner: state_of(). The other way: acquire; partner: look_while_waking() */
	if (atomic_compare_exchange_strong_explicit(&slot->state, &state, SLOT_COMPLETE,
						    memory_order_release, memory_order_acquire))
		return true;
	set_state(slot, SLOT_WAKING);
	return false;
}

bool mover_wake(struct mover *mover)
{
	struct slot *slot;

	while ((slot = TAILQ_FIRST(&mover->due))) {
		struct call call = {.slot = slot, .outer = calls};

		TAILQ_REMOVE(&mover->due, slot, due);
		set_state(slot, SLOT_WAKING);
		pthread_mutex_unlock(&mover->lock);
		calls = &call;
		do
			slot->waker.wake(slot->waker.data);
		while (call.slot && !waker_returned(slot));
		calls = call.outer;
		if (fork_happened(mover->epoch))
			return false;
		pthread_mutex_lock(&mover->lock);
	}
	return true;
}

void mover_leave(struct mover *mover)
{
	if (mover_wake(mover))
		pthread_mutex_unlock(&mover->lock);
}

/* Collect on behalf of the poller of `slot`, which so need not be woken for it. Holding the lock. */
static void collect_for(struct mover *mover, struct slot *slot)
{
	if (state_of(slot) != SLOT_RUNNING)
		return;

	struct future_waker waker = slot->waker;

	slot->waker.wake = NULL;
	mover_collect(mover);
	if (state_of(slot) == SLOT_RUNNING)
		slot->waker = waker;
}

/* The poller has come before the thread that would have called its waker. */
static void take_from_due(struct mover *mover, struct slot *slot)
{
	pthread_mutex_lock(&mover->lock);
	if (state_of(slot) == SLOT_DUE) {
		TAILQ_REMOVE(&mover->due, slot, due);
		set_state(slot, SLOT_COMPLETE);
	}
	pthread_mutex_unlock(&mover->lock);
}

/* Wait a moment for the waker to return, or have it called again. */
static void look_while_waking(struct slot *slot)
{
	for (unsigned i = 0; state_of(slot) == SLOT_WAKING; i++) {
		uint32_t state = SLOT_WAKING;

		if (i < PATIENCE)
			sched_yield();
		else /* release; partner: waker_returned() */
			atomic_compare_exchange_strong_explicit(&slot->state, &state, SLOT_SEEN,
								memory_order_release,
								memory_order_acquire);
	}
}

/* Whether this thread is in the waker of that slot, which then is complete. */
static bool polled_by_its_waker(struct slot *slot)
{
	for (struct call *call = calls; call; call = call->outer) {
		if (call->slot == slot) {
			call->slot = NULL;
			set_state(slot, SLOT_COMPLETE);
			return true;
		}
	}
	return false;
}

/* Look at an operation that was not complete a moment ago. */
static void look(struct mover *mover, struct slot *slot)
{
	WITHOUT_CANCELLATION;

	if (fork_happened(mover->epoch)) { /* the threads that would change the state are not here */
		complete_now(slot, fork_error());
		return;
	}
	if (slot->fresh) { /* started in the same poll, where completions have been collected */
		slot->fresh = false;
	} else if (state_of(slot) == SLOT_RUNNING && pthread_mutex_trylock(&mover->lock) == 0) {
		/* else another thread collects, and what it finds is seen at the next poll */
		collect_for(mover, slot);
		mover_leave(mover);
	}
	if (state_of(slot) == SLOT_DUE)
		take_from_due(mover, slot);
	if (!polled_by_its_waker(slot))
		look_while_waking(slot);
}

static enum future_state op_check(void *data, const struct vdm_operation *operation)
{
	struct slot *slot = data;

	(void)operation;
	if (state_of(slot) != SLOT_COMPLETE)
		look(slot->mover, slot);
	return state_of(slot) == SLOT_COMPLETE ? FUTURE_STATE_COMPLETE : FUTURE_STATE_RUNNING;
}

/* By the poller, which so waits for nobody else's write-back, and makes nobody wait. */
static void write_back_if_durable(const struct mover *mover, const struct vdm_operation *operation)
{
	const struct vdm_operation_data_memcpy *copy = &operation->data.memcpy;
	const struct vdm_operation_data_memset *set = &operation->data.memset;
	const struct vdm_operation_data_flush *flush = &operation->data.flush;

	if (!(mover->vdm.capabilities & VDM_F_MEM_DURABLE))
		return;
	if (operation->type == VDM_OPERATION_FLUSH)
		write_back(flush->dest, flush->n);
	else if (operation->type == VDM_OPERATION_MEMSET && (set->flags & VDM_F_MEM_DURABLE))
		write_back(set->str, set->n);
	else if (operation->type != VDM_OPERATION_MEMSET && (copy->flags & VDM_F_MEM_DURABLE))
		write_back(copy->dest, copy->n);
}

static void op_delete(void *data, const struct vdm_operation *operation,
		      struct vdm_operation_output *output)
{
	struct slot *slot = data;
	enum slot_state state = state_of(slot);

	/* skipped while it runs: then its slot is free when the mover is deleted */
	if (state != SLOT_NEW && state != SLOT_COMPLETE)
		return;
	if (slot->result == 0)
		write_back_if_durable(slot->mover, operation);
	output->type = operation->type;
	output->result = slot->result == 0         ? VDM_SUCCESS
			 : slot->result == -ENOMEM ? VDM_ERROR_OUT_OF_MEMORY
						   : VDM_ERROR_JOB_CORRUPTED;
	switch (operation->type) {
	case VDM_OPERATION_MEMCPY:
		output->output.memcpy.dest = operation->data.memcpy.dest;
		break;
	case VDM_OPERATION_MEMMOVE:
		output->output.memmove.dest = operation->data.memmove.dest;
		break;
	case VDM_OPERATION_MEMSET:
		output->output.memset.str = operation->data.memset.str;
		break;
	case VDM_OPERATION_FLUSH:
		output->output.flush.unused = 0;
		break;
	}
	mover_put_slot(slot->mover, slot);
}

static int is_asynchronous(void *future, enum future_property property)
{
	(void)future;
	return property == FUTURE_PROPERTY_ASYNC;
}

int mover_init(struct mover *mover, struct vdm_ring *const ring[], unsigned rings, enum future_notifier_type notifier)
{
	mover->vdm = (struct vdm){
		.op_new = op_new,
		.op_delete = op_delete,
		.op_start = op_start,
		.op_check = op_check,
		.capabilities = VDM_CAPABILITY_RENOTIFY | VDM_CAPABILITY_SKIP | (rings > 0 ? VDM_F_NO_CACHE_HINT : 0),
		.has_property = rings > 0 ? is_asynchronous : NULL,
	};
	mover->epoch = fork_epoch();
	mover->notifier = rings > 0 ? notifier : FUTURE_NOTIFIER_NONE;
	mover->waker.kick_fd = -1;
	pthread_mutex_init(&mover->lock, NULL);
	pthread_cond_init(&mover->waker.work, NULL);
	TAILQ_INIT(&mover->due);
	for (unsigned i = 0; i < rings; i++)
		mover->ring[i] = ring[i];
	mover->rings = rings;
	mover->second = rings > 1;
	if (mover->epoch == 0 || !mover_grow(mover)) {
		mover_fini(mover);
		return fail(-ENOMEM, "out of memory");
	}
	return 0;
}

void mover_fini(struct mover *mover)
{
	if (mover->waker.kick_fd >= 0)
		close(mover->waker.kick_fd);
	for (unsigned i = 0; i < mover->rings; i++)
		vdm_ring_close(mover->ring[i]);
	for (unsigned i = 0; i < mover->block_count; i++)
		free(mover->blocks[i]);
}

/* Have everything end that is in flight, and call the wakers. */
static void finish_all(struct mover *mover)
{
	struct vdm_cqe *cqe;

	pthread_mutex_lock(&mover->lock);
	for (unsigned i = 0; i < mover->rings; i++) {
		while (mover->ring[i]->used > 0 && vdm_ring_wait_cqe(mover->ring[i], &cqe) == 0) {
			mover_collect(mover);
			if (!mover_wake(mover))
				return;
		}
	}
	mover_leave(mover);
}

void mover_delete(struct mover *mover, void (*release)(struct mover *))
{
	WITHOUT_CANCELLATION;

	mover->release = release;
	if (!fork_happened(mover->epoch)) {
		bool elsewhere = waker_thread_stop(mover);

		finish_all(mover);
		if (!elsewhere) {
			waker_thread_abandon(mover); /* it releases the mover when it is no longer in its waker */
			return;
		}
	}
	release(mover);
}
