/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations of a mover: creating, starting, polling and deleting them. */
#include "mover_operations.h"

#include <errno.h>

#include "cancellation.h"
#include "entry.h"
#include "error.h"
#include "fork.h"
#include "mover.h"
#include "mover_translate.h"
#include "ring.h"
#include "ring_submit.h"
#include "slot_state.h"
#include "waker.h"
#include "write_back.h"

static void *op_new(struct vdm *vdm, const enum vdm_operation_type type)
{
	struct mover *mover = (struct mover *)vdm;
	struct slot *slot = slots_take(&mover->slots);

	(void)type;
	if (!slot)
		return NULL;
	slot->mover = mover;
	slot->result = 0;
	slot->notified = false;
	slot->in_file = false;
	slot->waker = (struct future_waker){0};
	slot->monitored = 0;
	/* relaxed: no other thread knows the slot */
	atomic_store_explicit(&slot->state, SLOT_NEW, memory_order_relaxed);
	return slot;
}

/* The operation of a mover without rings. */
static int run_here(const struct mover *mover, const struct vdm_operation *operation)
{
	struct vdm_sqe sqe = {0};

	translate_operation(operation, mover->writes_back, &sqe);

	int result = entry_check_memory(&sqe);

	if (!result)
		entry_run(&sqe);
	if (entry_facts(&sqe) & OP_ORDERED)
		atomic_thread_fence(memory_order_seq_cst);
	return result;
}

/* The memory of an operation. `from` is NULL where there is none. */
struct ranges {
	const void *to, *from;
	size_t n;
};

static struct ranges ranges_of(const struct vdm_operation *operation)
{
	const struct vdm_operation_data_memcpy *copy = &operation->data.memcpy;
	const struct vdm_operation_data_memset *set = &operation->data.memset;
	const struct vdm_operation_data_flush *flush = &operation->data.flush;

	switch (operation->type) {
	case VDM_OPERATION_MEMSET:
		return (struct ranges){set->str, NULL, set->n};
	case VDM_OPERATION_FLUSH:
		return (struct ranges){flush->dest, NULL, flush->n};
	default: /* memmove's data are laid out as memcpy's */
		return (struct ranges){copy->dest, copy->src, copy->n};
	}
}

/* What concerns a file takes the second ring, whose client knows it, whatever else may. */
static struct vdm_ring *choose_ring(struct mover *mover, const struct vdm_operation *operation)
{
	const struct ranges r = ranges_of(operation);

	if (mover->rings > 1) {
		struct vdm_ring *second = mover->ring[1];

		if (ring_concerns_file(second, r.to, r.from, r.n) ||
		    (mover->second_usable && operation->type != VDM_OPERATION_FLUSH &&
		     ring_offloads(second, r.to, r.from, r.n)))
			return second;
	}
	return mover->ring[0];
}

/* A flush goes through one ring, and has to wait for what the other one has not reported yet: in
 * flight, or to be repeated. */
static bool may_start(const struct mover *mover, const struct vdm_ring *ring,
		      const struct vdm_operation *operation)
{
	if (operation->type != VDM_OPERATION_FLUSH || mover->rings < 2)
		return true;

	const struct vdm_ring *other = mover->ring[ring == mover->ring[0]];

	return other->cqe_tail == other->submitted;
}

/* Have the poller of a running operation notified. The caller holds the lock. */
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
		notifier->poller.ptr_to_monitor = &slot->monitored;
	}
	notifier->notifier_used = mover->notifier;
	if (!slot->notified) {
		slot->notified = true;
		if (mover->notified++ == 0)
			pthread_cond_signal(&mover->waker.work);
	}
}

/* A poll of an operation that runs already may name another notifier than the poll before. */
static void renotify(struct slot *slot, struct future_notifier *notifier)
{
	struct mover *mover = slot->mover;
	bool same = mover->notifier == FUTURE_NOTIFIER_POLLER ||
		    (slot->waker.wake == notifier->waker.wake &&
		     slot->waker.data == notifier->waker.data);

	notifier->notifier_used = FUTURE_NOTIFIER_NONE;
	if (fork_happened(mover->epoch) || slot_state(slot) != SLOT_RUNNING)
		return;
	if (slot->notified && same) {
		notifier->notifier_used = mover->notifier;
		if (mover->notifier == FUTURE_NOTIFIER_POLLER)
			notifier->poller.ptr_to_monitor = &slot->monitored;
		return;
	}
	pthread_mutex_lock(&mover->lock);
	if (slot_state(slot) == SLOT_RUNNING)
		notify(mover, slot, notifier);
	pthread_mutex_unlock(&mover->lock);
}

/* NULL: the operation cannot start yet. */
static struct vdm_sqe *get_entry(struct mover *mover, struct vdm_ring *ring,
				 const struct vdm_operation *operation)
{
	return may_start(mover, ring, operation) ? vdm_ring_get_sqe(ring) : NULL;
}

/* Put the operation on a ring. The caller holds the lock. Returns 0, or -EAGAIN: it cannot start
 * yet. */
static int start_on_ring(struct mover *mover, struct slot *slot,
			 const struct vdm_operation *operation)
{
	struct vdm_ring *ring = choose_ring(mover, operation);
	struct vdm_sqe *sqe = get_entry(mover, ring, operation);

	if (!sqe) {
		mover_collect(mover);
		sqe = get_entry(mover, ring, operation);
	}
	if (!sqe)
		return -EAGAIN;
	if (mover->writes_back) {
		const struct ranges r = ranges_of(operation);

		slot->in_file = ring_concerns_file(ring, r.to, NULL, r.n);
	}
	translate_operation(operation, mover->writes_back && !slot->in_file, sqe);
	sqe->user_data = slot->index;
	slot->just_started = true;
	slot_set_state(slot, SLOT_RUNNING);
	vdm_ring_submit(ring);
	if (ring_unseen(ring) > 0) /* what ran in this thread is complete already */
		mover_collect(mover);
	return 0;
}

static int op_start(void *data, const struct vdm_operation *operation,
		    struct future_notifier *notifier)
{
	WITHOUT_CANCELLATION;
	struct slot *slot = data;
	struct mover *mover = slot->mover;
	int result = 0;

	if (slot_state(slot) != SLOT_NEW) {
		renotify(slot, notifier);
		return 0;
	}
	if (notifier)
		notifier->notifier_used = FUTURE_NOTIFIER_NONE;
	if (fork_happened(mover->epoch)) {
		slot_complete(slot, fork_error());
	} else if (mover->rings == 0) {
		slot_complete(slot, run_here(mover, operation));
	} else {
		pthread_mutex_lock(&mover->lock);
		result = start_on_ring(mover, slot, operation);
		if (notifier && slot_state(slot) == SLOT_RUNNING)
			notify(mover, slot, notifier);
		mover_leave(mover);
	}
	return result;
}

static enum future_state op_check(void *data, const struct vdm_operation *operation)
{
	struct slot *slot = data;

	(void)operation;
	if (slot_state(slot) != SLOT_COMPLETE)
		slot_look(slot);
	return slot_state(slot) == SLOT_COMPLETE ? FUTURE_STATE_COMPLETE : FUTURE_STATE_RUNNING;
}

/* The poller writes back what its own operation has stored, so that no other operation waits for
 * that. */
static void write_back_if_durable(const struct slot *slot, const struct vdm_operation *operation)
{
	const struct vdm_operation_data_memcpy *copy = &operation->data.memcpy;
	const struct vdm_operation_data_memset *set = &operation->data.memset;
	const struct vdm_operation_data_flush *flush = &operation->data.flush;

	if (!slot->mover->writes_back || slot->in_file)
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
	enum slot_state state = slot_state(slot);

	/* an operation that is skipped while it runs keeps its slot until the mover is deleted */
	if (state != SLOT_NEW && state != SLOT_COMPLETE)
		return;
	if (slot->result == 0)
		write_back_if_durable(slot, operation);
	translate_result(operation, slot->result, output);
	slots_put(&slot->mover->slots, slot);
}

static int is_asynchronous(void *future, enum future_property property)
{
	(void)future;
	return property == FUTURE_PROPERTY_ASYNC;
}

struct vdm mover_operations(bool with_rings)
{
	return (struct vdm){
		.op_new = op_new,
		.op_delete = op_delete,
		.op_start = op_start,
		.op_check = op_check,
		.capabilities = VDM_CAPABILITY_RENOTIFY | VDM_CAPABILITY_SKIP |
				(with_rings ? VDM_F_NO_CACHE_HINT : 0),
		.has_property = with_rings ? is_asynchronous : NULL,
	};
}
