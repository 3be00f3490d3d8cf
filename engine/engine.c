/* SPDX-License-Identifier: BSD-3-Clause */
/* Life of the engine and of its accounts; its lock. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/barrier.h"
#include "internal.h"
#include "memory.h"

/* More threads than this cannot be fed by any memory there is. */
#define MAX_WORKERS 256

#define SPARES 6

void engine_lock(struct engine *engine)
{
	/* relaxed: a hint to the holder; partner: breathe() */
	atomic_fetch_add_explicit(&engine->contenders, 1, memory_order_relaxed);
	pthread_mutex_lock(&engine->lock);
	atomic_fetch_sub_explicit(&engine->contenders, 1, memory_order_relaxed);
}

void engine_unlock(struct engine *engine)
{
	pthread_mutex_unlock(&engine->lock);
}

/*
 * A waiter counts as a contender from the moment it is told, since pthread_cond_wait() takes the lock
 * again without saying so.
 */
void engine_tell_progress(struct worker *worker, const struct engine_queue *queue)
{
	struct engine *engine = worker->engine;
	/* relaxed: written holding the lock; partner: watch_revoke() */
	bool awaited = queue->removed || queue->memory->paused ||
		       atomic_load_explicit(&worker->watch.revoked, memory_order_relaxed);

	if (engine->watcher_wants_to_know && awaited) {
		engine->watcher_wants_to_know = false;
		engine->progress_made = true;
		supervisor_call(engine);
	}
	if (engine->observers == 0)
		return;
	atomic_fetch_add_explicit(&engine->contenders, engine->observers, memory_order_relaxed);
	engine->observers = 0;
	engine->told++;
	pthread_cond_broadcast(&engine->progress);
}

bool engine_let_go_of(struct engine *engine, bool wait)
{
	uint64_t told = engine->told;

	if (!wait) {
		engine->watcher_wants_to_know = true;
		return false;
	}
	engine->observers++;
	while (engine->told == told)
		pthread_cond_wait(&engine->progress, &engine->lock);
	atomic_fetch_sub_explicit(&engine->contenders, 1, memory_order_relaxed);
	return true;
}

void engine_kick(struct engine *engine)
{
	eventfd_write(engine->kick_fd, 1);
}

static void set_kernels(struct engine *engine, const struct kernels *kernels)
{
	const struct kernels *standard = kernels_default();

	engine->kernels = *kernels;
	engine->kernels.own = kernels->copy || kernels->move || kernels->set;
	if (!kernels->copy)
		engine->kernels.copy = standard->copy;
	if (!kernels->move)
		engine->kernels.move = standard->move;
	if (!kernels->set)
		engine->kernels.set = standard->set;
}

void engine_set_kernels(struct engine *engine, const struct kernels *kernels)
{
	engine_lock(engine);
	set_kernels(engine, kernels);
	engine_unlock(engine);
}

static unsigned default_workers(void)
{
	cpu_set_t set;
	int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

	return cpus > 1 ? (unsigned)cpus / 2 : 1;
}

/* From the last CPU of the process's set downwards: the first ones are where most else runs. */
static void pin_worker(struct worker *worker)
{
	cpu_set_t set, one;

	if (sched_getaffinity(0, sizeof set, &set) < 0 || CPU_COUNT(&set) == 0)
		return;
	unsigned skip = worker->index % worker->engine->workers % (unsigned)CPU_COUNT(&set);

	for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--) {
		if (!CPU_ISSET(cpu, &set) || skip-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		pthread_setaffinity_np(worker->thread, sizeof one, &one);
		return;
	}
}

int engine_start_worker(struct engine *engine)
{
	const unsigned index = engine->threads;
	struct worker *worker = &engine->worker[index];
	sigset_t all, before;
	char name[16];

	worker->engine = engine;
	worker->index = index;
	worker->asleep = true; /* until it begins */
	/* Signals are for the program's own threads; those for a fault are delivered all the same. */
	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int result = -pthread_create(&worker->thread, NULL, worker_main, worker);

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (result)
		return result;
	engine->threads++;
	engine->running++;
	snprintf(name, sizeof name, "vdm-worker-%u", index);
	pthread_setname_np(worker->thread, name);
	if (engine->pin)
		pin_worker(worker);
	return 0;
}

static int open_doorbells(struct engine *engine)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = KICK_SLOT};

	engine->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	engine->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (engine->epoll_fd < 0 || engine->kick_fd < 0 ||
	    epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, engine->kick_fd, &event) < 0)
		return -errno;
	return 0;
}

int engine_new(const struct engine_options *options, struct engine **engine)
{
	unsigned workers = options->workers ? options->workers : default_workers();

	if (workers > MAX_WORKERS)
		return -EINVAL;

	/* All workers may get stuck at one account before that is noticed; and a few for other accounts. */
	unsigned threads = options->supervised ? 2 * workers + SPARES : workers;
	struct engine *e =
		aligned_alloc(VDM_CACHE_LINE, sizeof *e + threads * sizeof(struct worker));

	if (!e)
		return -ENOMEM;
	*e = (struct engine){.epoll_fd = -1, .kick_fd = -1, .watch_fd = -1, .workers = workers,
			     .most_threads = threads, .pin = options->pin};
	for (unsigned i = 0; i < threads; i++)
		e->worker[i] = (struct worker){0};
	for (unsigned i = 0; i < PRIORITIES; i++)
		TAILQ_INIT(&e->accounts[i]);
	atomic_init(&e->spin_us, options->spin_us);
	set_kernels(e, &options->kernels);

	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	/* adaptive: the lock is held for less time than it takes to go to sleep for it */
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&e->lock, &attributes);
	pthread_mutexattr_destroy(&attributes);
	pthread_cond_init(&e->surplus, NULL);
	pthread_cond_init(&e->progress, NULL);
	pthread_cond_init(&e->bench, NULL);

	e->may_watch = barrier_register_own();

	int result = open_doorbells(e);

	if (!result && options->supervised)
		result = supervisor_open(e);
	if (!result && options->guard_faults)
		result = guard_install();
	engine_lock(e);
	while (!result && e->threads < workers)
		result = engine_start_worker(e);
	engine_unlock(e);
	if (result) {
		engine_delete(e);
		return result;
	}
	*engine = e;
	return 0;
}

void engine_delete(struct engine *engine)
{
	if (!engine)
		return;
	engine_lock(engine);
	engine->stopping = true;
	pthread_cond_broadcast(&engine->surplus);
	pthread_cond_broadcast(&engine->bench);
	engine_unlock(engine);
	engine_kick(engine);
	for (unsigned i = 0; i < engine->threads; i++)
		pthread_join(engine->worker[i].thread, NULL);
	pthread_cond_destroy(&engine->surplus);
	pthread_cond_destroy(&engine->progress);
	pthread_cond_destroy(&engine->bench);
	pthread_mutex_destroy(&engine->lock);
	if (engine->epoll_fd >= 0)
		close(engine->epoll_fd);
	if (engine->kick_fd >= 0)
		close(engine->kick_fd);
	if (engine->watch_fd >= 0)
		close(engine->watch_fd);
	free(engine->queues);
	free(engine);
}

unsigned engine_workers(const struct engine *engine)
{
	return engine->workers;
}

unsigned engine_awake(struct engine *engine)
{
	engine_lock(engine);
	unsigned awake = engine->awake;

	engine_unlock(engine);
	return awake;
}

uint64_t engine_wakeups(struct engine *engine)
{
	return atomic_load_explicit(&engine->wakeups, memory_order_relaxed);
}

void engine_set_spin(struct engine *engine, uint32_t spin_us)
{
	atomic_store_explicit(&engine->spin_us, spin_us, memory_order_relaxed);
}

static bool all_served(struct engine *engine)
{
	for (uint32_t i = 0; i < engine->slots; i++) {
		struct engine_queue *queue = engine->queues[i].queue;

		if (!queue || queue->broken)
			continue;
		if (queue->busy || queue->head != queue->tail || queue_ready(queue))
			return false;
	}
	return true;
}

int engine_drain(struct engine *engine, unsigned timeout_ms)
{
	/* At the end of a service's life only, so a look each millisecond is simple enough. */
	for (unsigned waited = 0;; waited++) {
		engine_lock(engine);
		bool served = all_served(engine);

		for (uint32_t i = 0; waited == 0 && i < engine->slots; i++) {
			struct engine_queue *queue = engine->queues[i].queue;

			/* its producer may have died between publishing and ringing */
			if (queue && !queue->polled)
				scheduler_poll(queue, 0);
		}
		engine_unlock(engine);
		if (waited == 0)
			engine_kick(engine);
		if (served)
			return 0;
		if (waited >= timeout_ms)
			return -ETIMEDOUT;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
}

int engine_account_new(struct engine *engine, struct engine_account **account)
{
	struct engine_account *a = calloc(1, sizeof *a);

	if (!a)
		return -ENOMEM;
	a->engine = engine;
	for (unsigned i = 0; i < PRIORITIES; i++)
		TAILQ_INIT(&a->queues[i]);
	atomic_init(&a->most_in_flight, UINT64_MAX);
	a->weight = ORDINARY_WEIGHT;
	*account = a;
	return 0;
}

void engine_account_set_turn(struct engine_account *account, unsigned weight, enum engine_priority priority)
{
	engine_lock(account->engine);
	account->weight = weight < 1 ? 1 : weight > 1000 ? 1000 : weight;
	scheduler_set_priority(account, priority);
	engine_unlock(account->engine);
}

void engine_account_set_in_flight(struct engine_account *account, uint64_t bytes)
{
	atomic_store_explicit(&account->most_in_flight, bytes, memory_order_relaxed);
}

void engine_account_delete(struct engine_account *account)
{
	free(account);
}
