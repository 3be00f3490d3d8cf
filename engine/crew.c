/* SPDX-License-Identifier: BSD-3-Clause */
#include "crew.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/barrier.h"
#include "base/cpu.h"

/* Looks for threads that wait for the lock, of about 25 ns each: 100 us, in which a sleeping thread
 * wakes up. Then the rings have waited long enough. */
#define YIELD_LOOKS 4096

/* After so many times in vain, those threads have no CPU: this one may have what they wait for. */
#define YIELDS_IN_VAIN 4

static void init_lock(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	/* adaptive: the lock is held for less time than it takes to go to sleep for it */
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(lock, &attributes);
	pthread_mutexattr_destroy(&attributes);
}

int crew_init(struct crew *crew, unsigned workers, unsigned most_threads, bool pin,
	      void *(*main)(void *worker))
{
	*crew = (struct crew){
		.workers = workers, .most_threads = most_threads, .pin = pin, .main = main};
	crew->worker = aligned_alloc(VDM_CACHE_LINE, most_threads * sizeof(struct worker));
	if (!crew->worker)
		return -ENOMEM;
	for (unsigned i = 0; i < most_threads; i++) {
		crew->worker[i] = (struct worker){.crew = crew, .index = i, .stat_fd = -1};
		pthread_cond_init(&crew->worker[i].call, NULL);
	}
	init_lock(&crew->lock);
	wait_init(&crew->peeks);
	wait_init(&crew->starts);
	crew->may_peek = barrier_register_own();
	return 0;
}

void crew_free(struct crew *crew)
{
	if (!crew->worker)
		return;
	for (unsigned i = 0; i < crew->most_threads; i++) {
		pthread_cond_destroy(&crew->worker[i].call);
		if (crew->worker[i].stat_fd >= 0)
			close(crew->worker[i].stat_fd);
	}
	wait_destroy(&crew->peeks);
	wait_destroy(&crew->starts);
	pthread_mutex_destroy(&crew->lock);
	free(crew->worker);
}

void crew_stop(struct crew *crew)
{
	crew->stopping = true;
	for (unsigned i = 0; i < crew->threads; i++)
		pthread_cond_signal(&crew->worker[i].call);
}

void crew_join(struct crew *crew)
{
	for (unsigned i = 0; i < crew->threads; i++)
		pthread_join(crew->worker[i].thread, NULL);
}

void crew_lock(struct crew *crew)
{
	/* relaxed: a hint to the holder; partner: crew_yield_lock() */
	atomic_fetch_add_explicit(&crew->contenders, 1, memory_order_relaxed);
	pthread_mutex_lock(&crew->lock);
	atomic_fetch_sub_explicit(&crew->contenders, 1, memory_order_relaxed);
}

void crew_unlock(struct crew *crew)
{
	pthread_mutex_unlock(&crew->lock);
}

void crew_yield_lock(struct crew *crew)
{
	/* relaxed: a hint; partner: crew_lock() */
	if (atomic_load_explicit(&crew->contenders, memory_order_relaxed) == 0)
		return;
	unsigned looks = 0;

	pthread_mutex_unlock(&crew->lock);
	while (looks < YIELD_LOOKS &&
	       atomic_load_explicit(&crew->contenders, memory_order_relaxed) > 0) {
		looks++;
		cpu_relax();
	}
	if (looks == YIELD_LOOKS && crew->yields_in_vain >= YIELDS_IN_VAIN)
		sched_yield();
	pthread_mutex_lock(&crew->lock);
	crew->yields_in_vain = looks == YIELD_LOOKS ? crew->yields_in_vain + 1 : 0;
}

/* From the last CPU of the process's set downwards: the first ones are where most else runs. */
static void pin_worker(const struct worker *worker)
{
	cpu_set_t set, one;

	if (sched_getaffinity(0, sizeof set, &set) < 0 || CPU_COUNT(&set) == 0)
		return;
	unsigned skip = worker->index % worker->crew->workers % (unsigned)CPU_COUNT(&set);

	for (size_t cpu = CPU_SETSIZE; cpu-- > 0;) {
		if (!CPU_ISSET(cpu, &set) || skip-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		pthread_setaffinity_np(worker->thread, sizeof one, &one);
		return;
	}
}

static int start_thread(struct worker *worker)
{
	sigset_t all, before;

	/* Signals are for the program's own threads; those for a fault are delivered all the
	 * same. */
	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int result = -pthread_create(&worker->thread, NULL, worker->crew->main, worker);

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return result;
}

int crew_start_worker(struct crew *crew)
{
	struct worker *worker = &crew->worker[crew->threads];
	char name[16];

	/* it counts before it runs, for it soon changes its state */
	crew_lock(crew);
	crew->threads++;
	atomic_init(&worker->state, WORKER_CALLED);
	crew->in[WORKER_CALLED]++;
	crew_unlock(crew);

	int result = start_thread(worker);

	if (result) {
		crew_lock(crew);
		crew->threads--;
		crew->in[WORKER_CALLED]--;
		crew_unlock(crew);
		return result;
	}
	snprintf(name, sizeof name, "vdm-worker-%u", worker->index);
	pthread_setname_np(worker->thread, name);
	if (crew->pin)
		pin_worker(worker);
	return 0;
}

void crew_set_state(struct worker *worker, enum worker_state state)
{
	struct crew *crew = worker->crew;

	crew->in[atomic_load_explicit(&worker->state, memory_order_relaxed)]--;
	crew->in[state]++;
	atomic_store_explicit(&worker->state, state, memory_order_relaxed);
}

void crew_sleep(struct worker *worker, enum worker_state state)
{
	struct crew *crew = worker->crew;

	crew_set_state(worker, state);
	while (worker_is(worker, state) && !crew->stopping)
		pthread_cond_wait(&worker->call, &crew->lock);
	crew_set_state(worker, WORKER_POLLING);
	atomic_fetch_add_explicit(&crew->wakeups, 1, memory_order_relaxed);
}

bool crew_call(struct crew *crew, enum worker_state state)
{
	unsigned i = 0;

	if (crew->in[state] == 0)
		return false;
	while (!worker_is(&crew->worker[i], state))
		i++;
	crew_set_state(&crew->worker[i], WORKER_CALLED);
	pthread_cond_signal(&crew->worker[i].call);
	return true;
}

/*
 * A thread that waits counts as a contender from the moment it is told, since pthread_cond_wait()
 * takes the lock again without saying so.
 */
void crew_tell_progress(struct crew *crew, struct wait *wait)
{
	if (wait->threads == 0)
		return;
	/* relaxed: a hint; partner: crew_yield_lock() */
	atomic_fetch_add_explicit(&crew->contenders, wait->threads, memory_order_relaxed);
	wait->threads = 0;
	wait->told++;
	pthread_cond_broadcast(&wait->progress);
}

void crew_await_progress(struct crew *crew, struct wait *wait)
{
	const uint64_t told = wait->told;

	wait->threads++;
	while (wait->told == told)
		pthread_cond_wait(&wait->progress, &crew->lock);
	atomic_fetch_sub_explicit(&crew->contenders, 1, memory_order_relaxed);
}

void crew_await_starts(struct crew *crew)
{
	while (crew->started < crew->threads)
		crew_await_progress(crew, &crew->starts);
}

int crew_stop_peeking(struct crew *crew, const struct engine_queue *queue)
{
	bool any = false;

	for (unsigned i = 0; i < crew->threads; i++)
		any |= peek_revoke(&crew->worker[i].peek, queue);
	if (!any)
		return 0;
	barrier_for_own_threads();
	for (unsigned i = 0; i < crew->threads; i++)
		if (peek_is_looking(&crew->worker[i].peek, queue))
			return -EAGAIN;
	return 0;
}

static bool sleeps(enum worker_state state)
{
	return state != WORKER_POLLING && state != WORKER_SERVING && state != WORKER_STUCK;
}

bool crew_is_healthy(struct crew *crew, bool (*waits)(int stat_fd))
{
	unsigned working = 0;
	bool healthy = true;

	for (unsigned i = 0; i < crew->threads; i++) {
		struct worker *worker = &crew->worker[i];
		/* relaxed; partners: worker_main(), crew_set_state() */
		uint64_t steps = atomic_load_explicit(&worker->steps, memory_order_relaxed);
		enum worker_state state =
			atomic_load_explicit(&worker->state, memory_order_relaxed);

		working += state != WORKER_STUCK;
		if (steps == worker->steps_seen && !sleeps(state) &&
		    !(state == WORKER_STUCK && waits(worker->stat_fd)))
			healthy = false;
		worker->steps_seen = steps;
	}
	return healthy && working > 0;
}
