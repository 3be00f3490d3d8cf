/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operations of a mover.
 *
 * States of a slot, and who changes them:
 *
 *   NEW -> RUNNING       its poller, holding the lock, before the operation is on the ring
 *   RUNNING -> COMPLETE  who collects its completion, holding the lock, if it has no waker
 *   RUNNING -> WAKING    the same, if it has one
 *   WAKING -> COMPLETE   the same, without the lock, when the waker has returned
 *   WAKING -> SEEN       its poller, who has looked before that
 *   SEEN -> WAKING       who calls the waker, before he calls it once more
 *
 * The waker is called between the operation's end and the moment that anybody may see it complete. So he who
 * sees it complete may free what the waker uses: nobody will touch it any more. And he who is woken and looks
 * too early is not lost: for a moment he waits for the call to return, which mostly it is about to do, and else
 * (it may be waiting for a lock that he himself holds) he is told RUNNING and is woken again. The waker itself
 * may poll: that its own thread is in this call, it knows by `waking_now`.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "engine/kernels.h"
#include "error.h"
#include "fork.h"
#include "mover_internal.h"
#include "ring_internal.h"

/* How often a poller lets others run before he leaves a waker that is being called to return in its own time. */
#define PATIENCE 100

/* The slot whose waker this thread is calling; set to NULL when it is polled to its end meanwhile. */
static _Thread_local struct slot *waking_now;

static struct slot *slot_at(struct mover *mover, uint32_t index)
{
	return &mover->blocks[index / SLOTS_PER_BLOCK][index % SLOTS_PER_BLOCK];
}

/* Put slots back that are linked from `first` to `last`. */
static void free_slots(struct mover *mover, struct slot *first, struct slot *last)
{
	/* release; partner: take_slot(). The upper half tells apart two states of the list that begin with the
	 * same slot. */
	uint64_t before = atomic_load_explicit(&mover->free, memory_order_relaxed), after;

	do {
		atomic_store_explicit(&last->next_free, (uint32_t)before, memory_order_relaxed);
		after = ((before >> 32) + 1) << 32 | (first->index + 1);
	} while (!atomic_compare_exchange_weak_explicit(&mover->free, &before, after, memory_order_release,
							memory_order_relaxed));
}

/* Make a block of free slots, unless another thread has just done so. Returns whether there may be a free one now. */
static bool make_slots(struct mover *mover)
{
	if (fork_happened(mover->epoch))
		return false; /* the lock may have been held by a thread that is not here */
	pthread_mutex_lock(&mover->lock);

	bool made = (uint32_t)atomic_load_explicit(&mover->free, memory_order_relaxed) != 0;
	struct slot *block = made || mover->block_count == MOVER_BLOCKS ? NULL
									: calloc(SLOTS_PER_BLOCK, sizeof *block);

	if (block) {
		for (uint32_t i = 0; i < SLOTS_PER_BLOCK; i++) {
			block[i].index = mover->block_count * SLOTS_PER_BLOCK + i;
			/* relaxed; ordered by free_slots() */
			atomic_store_explicit(&block[i].next_free, block[i].index + 2, memory_order_relaxed);
		}
		mover->blocks[mover->block_count++] = block;
		free_slots(mover, &block[0], &block[SLOTS_PER_BLOCK - 1]);
		made = true;
	}
	pthread_mutex_unlock(&mover->lock);
	return made;
}

static struct slot *take_slot(struct mover *mover)
{
	/* acquire; partner: free_slots(): who sees a slot's number sees the block that it is in */
	uint64_t before = atomic_load_explicit(&mover->free, memory_order_acquire), after;
	struct slot *slot;

	do {
		while ((uint32_t)before == 0) {
			if (!make_slots(mover))
				return NULL;
			before = atomic_load_explicit(&mover->free, memory_order_acquire);
		}
		slot = slot_at(mover, (uint32_t)before - 1);
		/* another thread may take it meanwhile: then this is not used */
		after = ((before >> 32) + 1) << 32 |
			atomic_load_explicit(&slot->next_free, memory_order_relaxed);
	} while (!atomic_compare_exchange_weak_explicit(&mover->free, &before, after, memory_order_acquire,
							memory_order_acquire));
	return slot;
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
	struct slot *slot = take_slot(mover);

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
static void fill_sqe(struct vdm_sqe *sqe, const struct vdm_operation *operation)
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
	if (flags & VDM_F_MEM_DURABLE)
		sqe->flags |= VDM_SQE_DURABLE;
	if (flags & ~(uint64_t)VDM_F_VALID_FLAGS)
		sqe->flags |= 1u << 15; /* reserved */
}

/* Without a ring: here and now. */
static int run_here(const struct vdm_operation *operation)
{
	const struct kernels *kernels = kernels_default();
	struct vdm_sqe sqe = {0};

	fill_sqe(&sqe, operation);
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
	       mover->ring[1]->in_flight == 0;
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
	struct slot *slot = data;
	struct mover *mover = slot->mover;
	struct slot *waking = NULL;

	if (state_of(slot) != SLOT_NEW) {
		renotify(slot, notifier);
		return 0;
	}
	if (notifier)
		notifier->notifier_used = FUTURE_NOTIFIER_NONE;
	if (fork_happened(mover->epoch))
		return complete_now(slot, fork_error());
	if (mover->rings == 0)
		return complete_now(slot, run_here(operation));

	pthread_mutex_lock(&mover->lock);
	struct vdm_ring *ring = choose_ring(mover, operation);
	struct vdm_sqe *sqe = may_start(mover, operation) ? vdm_ring_get_sqe(ring) : NULL;

	if (!sqe) {
		waking = mover_collect(mover, waking);
		sqe = may_start(mover, operation) ? vdm_ring_get_sqe(ring) : NULL;
	}
	if (sqe) {
		fill_sqe(sqe, operation);
		sqe->user_data = slot->index;
		slot->fresh = true;
		set_state(slot, SLOT_RUNNING);
		vdm_ring_submit(ring);
		if (ring_unseen(ring) > 0) /* what ran in this thread is complete already */
			waking = mover_collect(mover, waking);
		if (notifier && state_of(slot) == SLOT_RUNNING)
			notify(mover, slot, notifier);
	}
	pthread_mutex_unlock(&mover->lock);
	mover_wake(waking);
	return sqe ? 0 : -EAGAIN;
}

/* The completion of one operation has come. */
static struct slot *finish(struct mover *mover, struct slot *slot, int result, struct slot *waking)
{
	slot->result = result;
	if (slot->notified)
		mover->notified--;
	/* relaxed; for who monitors the word: he then polls, and that reads the state */
	__atomic_store_n(&slot->word, 1, __ATOMIC_RELAXED);
	if (!slot->waker.wake) {
		set_state(slot, SLOT_COMPLETE);
		return waking;
	}
	set_state(slot, SLOT_WAKING);
	slot->next_waking = waking;
	return slot;
}

struct slot *mover_collect(struct mover *mover, struct slot *waking)
{
	for (unsigned i = 0; i < mover->rings; i++) {
		struct vdm_ring *ring = mover->ring[i];

		ring_poll(ring);
		while (ring_unseen(ring) > 0) {
			const struct vdm_cqe *cqe = &ring->cqes[ring->cqe_head & (ring->entries - 1)];

			waking = finish(mover, slot_at(mover, (uint32_t)cqe->user_data), cqe->result, waking);
			vdm_ring_cq_advance(ring, 1);
		}
	}
	return waking;
}

/* Complete, unless the poller has looked too early: then he has to be woken again. */
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

void mover_wake(struct slot *waking)
{
	while (waking) {
		struct slot *slot = waking;
		struct slot *outer = waking_now;

		waking = slot->next_waking;
		do {
			waking_now = slot;
			slot->waker.wake(slot->waker.data);
		} while (waking_now == slot && !waker_returned(slot));
		waking_now = outer;
	}
}

/* Collect on behalf of who polls `slot`, and so need not be woken for it. Holding the lock. */
static struct slot *collect_for(struct mover *mover, struct slot *slot)
{
	if (state_of(slot) != SLOT_RUNNING)
		return NULL;

	struct future_waker waker = slot->waker;

	slot->waker.wake = NULL;

	struct slot *waking = mover_collect(mover, NULL);

	if (state_of(slot) == SLOT_RUNNING)
		slot->waker = waker;
	return waking;
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

static enum future_state op_check(void *data, const struct vdm_operation *operation)
{
	struct slot *slot = data;
	struct mover *mover = slot->mover;
	struct slot *waking = NULL;

	(void)operation;
	if (slot->fresh) { /* started a moment ago, in the same poll */
		slot->fresh = false;
	} else if (state_of(slot) == SLOT_RUNNING) {
		if (fork_happened(mover->epoch)) {
			complete_now(slot, fork_error());
		} else if (pthread_mutex_trylock(&mover->lock) == 0) {
			/* else somebody is at it, and what he finds is seen at the next poll */
			waking = collect_for(mover, slot);
			pthread_mutex_unlock(&mover->lock);
			mover_wake(waking);
		}
	}
	if (waking_now == slot) { /* polled by its own waker */
		waking_now = NULL;
		set_state(slot, SLOT_COMPLETE);
		return FUTURE_STATE_COMPLETE;
	}
	look_while_waking(slot);
	return state_of(slot) == SLOT_COMPLETE ? FUTURE_STATE_COMPLETE : FUTURE_STATE_RUNNING;
}

static void op_delete(void *data, const struct vdm_operation *operation,
		      struct vdm_operation_output *output)
{
	struct slot *slot = data;
	enum slot_state state = state_of(slot);

	/* skipped while it runs: then its slot is free when the mover is deleted */
	if (state != SLOT_NEW && state != SLOT_COMPLETE)
		return;
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
	free_slots(slot->mover, slot, slot);
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
		.capabilities = VDM_F_NO_CACHE_HINT | VDM_CAPABILITY_RENOTIFY | VDM_CAPABILITY_SKIP,
		.has_property = rings > 0 ? is_asynchronous : NULL,
	};
	mover->epoch = fork_epoch();
	mover->notifier = rings > 0 ? notifier : FUTURE_NOTIFIER_NONE;
	mover->waker.stop_fd = -1;
	pthread_mutex_init(&mover->lock, NULL);
	pthread_cond_init(&mover->waker.work, NULL);
	for (unsigned i = 0; i < rings; i++)
		mover->ring[i] = ring[i];
	mover->rings = rings;
	mover->second = rings > 1;
	if (mover->epoch == 0 || !make_slots(mover)) {
		mover_fini(mover);
		return fail(-ENOMEM, "out of memory");
	}
	return 0;
}

void mover_fini(struct mover *mover)
{
	if (!fork_happened(mover->epoch))
		waker_thread_stop(mover);
	for (unsigned i = 0; i < mover->rings; i++)
		vdm_ring_close(mover->ring[i]);
	for (unsigned i = 0; i < mover->block_count; i++)
		free(mover->blocks[i]);
}
