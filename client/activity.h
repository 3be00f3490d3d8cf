/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Releasing a region while rings use it. A ring is active while its thread looks up addresses in
 * regions, publishes operations or carries some out. A thread that releases a region takes it out
 * of the client's table and then waits until each ring has been inactive once: a ring that becomes
 * active later does not find the region any more.
 */
#ifndef VDM_CLIENT_ACTIVITY_H
#define VDM_CLIENT_ACTIVITY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct activities;

/* Of one ring. */
struct activity {
	struct activities *all;     /* of the client */
	LIST_ENTRY(activity) entry; /* activities::list */
	_Atomic uint32_t steps;     /* odd while the ring is active */
	_Atomic bool in_flight;     /* operations may be in flight */
};

/* Of all rings of a client. */
struct activities {
	LIST_HEAD(, activity) list; /* guarded by `lock` */
	pthread_mutex_t *lock;      /* of the client's connection */
	pthread_cond_t left;        /* a ring has become inactive */
	_Atomic unsigned awaiting;  /* threads that wait for that; partner: activity_leave() */
	bool reaches_threads;       /* barrier_for_own_threads() does; constant */
};

void activities_init(struct activities *all, pthread_mutex_t *lock);
void activities_destroy(struct activities *all);

void activity_add(struct activity *activity, struct activities *all);
/* The caller holds the lock. */
void activity_remove(struct activity *activity);

/* Wait until every ring has been inactive. The caller holds the lock. Returns whether operations
 * are in flight. */
bool activities_await_inactive(struct activities *all);

/* Wake the threads in activities_await_inactive(). */
void activities_wake(struct activities *all);

/* Where membarrier(2) works, a ring's thread passes no barrier of its own:
 * activities_await_inactive() has the kernel pass one in all threads. */
static inline void activity_barrier(const struct activities *all)
{
	if (all->reaches_threads)
		atomic_signal_fence(memory_order_seq_cst);
	else
		atomic_thread_fence(memory_order_seq_cst);
}

static inline void activity_step(struct activity *activity)
{
	/* release; partner: activities_await_inactive(), acquire. The ring's thread is the only
	 * writer. */
	atomic_store_explicit(&activity->steps,
			      atomic_load_explicit(&activity->steps, memory_order_relaxed) + 1,
			      memory_order_release);
}

/* Call before a look at the table of regions, with a ring of a client. Must not be nested. */
static inline void activity_enter(struct activity *activity)
{
	activity_step(activity);
	/* between this store and the load of region_table::changes; partner:
	 * activities_await_inactive(), called after the change */
	activity_barrier(activity->all);
}

static inline void activity_leave(struct activity *activity)
{
	activity_step(activity);
	/* between this store and the load of `awaiting`; partner: activities_await_inactive(),
	 * after it has counted itself */
	activity_barrier(activity->all);
	if (atomic_load_explicit(&activity->all->awaiting, memory_order_relaxed) > 0)
		activities_wake(activity->all);
}

/* relaxed; partner: activities_await_inactive(), ordered by `steps` */
static inline void activity_set_in_flight(struct activity *activity, bool in_flight)
{
	atomic_store_explicit(&activity->in_flight, in_flight, memory_order_relaxed);
}

#endif
