/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine's life, and what can be asked of it and set meanwhile. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "parts.h"
#include "worker.h"

/* More threads than this cannot be fed by any memory there is. */
#define MAX_WORKERS 256

/* All workers may get stuck at one account before that is noticed; and so many for other
 * accounts. */
#define SPARES 6

static unsigned default_workers(void)
{
	cpu_set_t set;
	int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

	return cpus > 1 ? (unsigned)cpus / 2 : 1;
}

int engine_new(const struct engine_options *options, struct engine **engine)
{
	unsigned workers = options->workers ? options->workers : default_workers();

	if (workers > MAX_WORKERS)
		return -EINVAL;

	unsigned threads = options->supervised ? 2 * workers + SPARES : workers;
	struct engine *e = malloc(sizeof *e);

	if (!e)
		return -ENOMEM;
	*e = (struct engine){.backend = options->backend};
	scheduler_init(&e->scheduler, options->spin_us);
	cpu_backend_init(&e->cpu, &options->kernels);
	supervisor_init(&e->supervisor);

	int result = crew_init(&e->crew, workers, threads, options->pin, worker_main);
	int opened = doorbells_open(&e->doorbells);

	if (!result)
		result = opened;
	if (!result && options->supervised)
		result = supervisor_open(&e->supervisor);
	if (!result && options->supervised)
		result = supervisor_reserve_stats(&e->crew);
	if (!result && options->guard_faults)
		result = guard_install();
	while (!result && e->crew.threads < workers)
		result = crew_start_worker(&e->crew);
	if (result) {
		engine_delete(e);
		return result;
	}
	crew_lock(&e->crew);
	crew_await_starts(&e->crew);
	crew_unlock(&e->crew);
	*engine = e;
	return 0;
}

void engine_delete(struct engine *engine)
{
	if (!engine)
		return;
	if (engine->crew.threads > 0) {
		crew_lock(&engine->crew);
		crew_stop(&engine->crew);
		doorbells_kick_for_good(&engine->doorbells);
		crew_unlock(&engine->crew);
		crew_join(&engine->crew);
	}
	crew_free(&engine->crew);
	doorbells_close(&engine->doorbells);
	supervisor_close(&engine->supervisor);
	free(engine);
}

unsigned engine_workers(const struct engine *engine)
{
	return engine->crew.workers;
}

unsigned engine_awake(struct engine *engine)
{
	unsigned awake = 0;

	/* relaxed, without the lock, which clients could have taken all the time: a figure */
	for (unsigned i = 0; i < engine->crew.most_threads; i++) {
		const enum worker_state state =
			atomic_load_explicit(&engine->crew.worker[i].state, memory_order_relaxed);

		awake += state == WORKER_POLLING || state == WORKER_SERVING;
	}
	return awake;
}

uint64_t engine_wakeups(struct engine *engine)
{
	return atomic_load_explicit(&engine->crew.wakeups, memory_order_relaxed);
}

int engine_supervisor_fd(const struct engine *engine)
{
	return engine->supervisor.timer_fd;
}

void engine_supervise(struct engine *engine)
{
	supervisor_look(&engine->supervisor, &engine->crew, &engine->scheduler, &engine->doorbells);
}

bool engine_healthy(struct engine *engine)
{
	return crew_is_healthy(&engine->crew, thread_waits);
}

void engine_set_kernels(struct engine *engine, const struct kernels *kernels)
{
	struct cpu_backend cpu;

	cpu_backend_init(&cpu, kernels);
	crew_lock(&engine->crew);
	engine->cpu = cpu;
	crew_unlock(&engine->crew);
}

void engine_set_spin(struct engine *engine, uint32_t spin_us)
{
	scheduler_set_spin(&engine->scheduler, spin_us);
}

void engine_account_set_turn(struct engine_account *account, unsigned weight,
			     enum engine_priority priority)
{
	struct engine *engine = account->engine;

	crew_lock(&engine->crew);
	scheduler_set_turn(&engine->scheduler, account, weight, priority);
	crew_unlock(&engine->crew);
}
