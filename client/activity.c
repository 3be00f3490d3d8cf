/* SPDX-License-Identifier: BSD-3-Clause */
#include "activity.h"

#include "base/barrier.h"

void activities_init(struct activities *all, pthread_mutex_t *lock)
{
	LIST_INIT(&all->list);
	all->lock = lock;
	pthread_cond_init(&all->left, NULL);
	all->reaches_threads = barrier_register_own();
}

void activities_destroy(struct activities *all)
{
	pthread_cond_destroy(&all->left);
}

void activity_add(struct activity *activity, struct activities *all)
{
	activity->all = all;
	LIST_INSERT_HEAD(&all->list, activity, entry);
}

void activity_remove(struct activity *activity)
{
	LIST_REMOVE(activity, entry);
}

void activities_wake(struct activities *all)
{
	pthread_mutex_lock(all->lock);
	pthread_cond_broadcast(&all->left);
	pthread_mutex_unlock(all->lock);
}

static struct activity *activity_after(struct activities *all, const struct activity *activity)
{
	return activity ? LIST_NEXT(activity, entry) : LIST_FIRST(&all->list);
}

bool activities_await_inactive(struct activities *all)
{
	bool in_flight = false;
	struct activity *activity = NULL;

	/* relaxed, then a full barrier here and in the rings' threads; partners: activity_enter(),
	 * activity_leave() */
	atomic_fetch_add_explicit(&all->awaiting, 1, memory_order_relaxed);
	if (all->reaches_threads)
		barrier_for_own_threads();
	else
		atomic_thread_fence(memory_order_seq_cst);
	while ((activity = activity_after(all, activity))) {
		/* acquire; partner: activity_step(), release: the ring's thread has done what it
		 * did while active */
		if (atomic_load_explicit(&activity->steps, memory_order_acquire) % 2 != 0) {
			pthread_cond_wait(&all->left, all->lock);
			activity = NULL; /* the list may have changed: begin again */
			continue;
		}
		/* relaxed; partner: activity_set_in_flight() */
		in_flight |= atomic_load_explicit(&activity->in_flight, memory_order_relaxed);
	}
	atomic_fetch_sub_explicit(&all->awaiting, 1, memory_order_relaxed);
	return in_flight;
}
