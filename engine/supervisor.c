/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client can make a page of its memory take long to come: the kernel lets a fault wait while a hole is being punched
 * around it, and how long that takes is up to the priority of the thread that does it (shmem_fault() in mm/shmem.c of
 * Linux). A worker that waits for such a page is put aside: a spare one takes its place, and the account whose memory
 * it is gets no other worker until this one is back.
 *
 * Whoever runs the engine looks after the workers at intervals, and only while one is awake.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "internal.h"

/* Two looks that find a worker at the same step: so others wait for at most twice as long. */
#define LOOK_NS 10000000

static void set_timer(struct engine *engine, long ns)
{
	const struct itimerspec once = {.it_value.tv_nsec = ns};

	timerfd_settime(engine->watch_fd, 0, &once, NULL);
}

int supervisor_open(struct engine *engine)
{
	engine->watch_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return engine->watch_fd < 0 ? -errno : 0;
}

void supervisor_watch(struct engine *engine)
{
	if (engine->watch_fd < 0 || engine->watching)
		return;
	engine->watching = true;
	set_timer(engine, LOOK_NS);
}

void supervisor_call(struct engine *engine)
{
	if (engine->watch_fd < 0)
		return;
	engine->watching = true;
	set_timer(engine, 1);
}

/* Whether a thread waits in the kernel: neither runs, nor would if it had a CPU, nor is stopped. While a worker serves
 * somebody it does that for pages alone. */
static bool thread_waits(pid_t thread)
{
	char path[64], text[256];

	snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);

	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	ssize_t length = read(fd, text, sizeof text - 1);

	close(fd);
	if (length <= 0)
		return false;
	text[length] = '\0';

	/* "id (name) state ...": proc(5) */
	const char *name_end = strrchr(text, ')');

	return name_end && (strncmp(name_end, ") D", 3) == 0 || strncmp(name_end, ") S", 3) == 0);
}

static void put_aside(struct worker *worker)
{
	struct engine *engine = worker->engine;

	atomic_store_explicit(&worker->aside, true, memory_order_relaxed);
	engine->awake--;
	engine->moving--;
	engine->running--;
	scheduler_suspend(worker->serving->account);
}

void supervisor_come_back(struct worker *worker)
{
	struct engine *engine = worker->engine;

	atomic_store_explicit(&worker->aside, false, memory_order_relaxed);
	engine->awake++;
	engine->moving++;
	engine->running++;
	supervisor_watch(engine);
	scheduler_resume(worker->serving->account);
}

bool supervisor_has_surplus(const struct engine *engine)
{
	/* the last one awake has to stay: those who sleep do not know that there is something to do */
	return engine->running > engine->workers && engine->awake > 1;
}

void supervisor_sit_down(struct worker *worker)
{
	struct engine *engine = worker->engine;

	engine->awake--;
	engine->running--;
	engine->benched++;
	/* relaxed; partner: engine_healthy() */
	atomic_store_explicit(&worker->asleep, true, memory_order_relaxed);
	while (engine->called == 0 && !engine->stopping)
		pthread_cond_wait(&engine->bench, &engine->lock);
	if (engine->called > 0)
		engine->called--; /* and it runs already, for whoever called */
	else
		engine->running++;
	atomic_store_explicit(&worker->asleep, false, memory_order_relaxed);
	engine->benched--;
	engine->awake++;
	supervisor_watch(engine);
}

/* Those who sleep do not know that the rings are polled by nobody now. */
static void wake_one(struct engine *engine)
{
	if (engine->parked > engine->summons) {
		engine->summons++;
		pthread_cond_signal(&engine->surplus);
	} else if (engine->sentinel) {
		engine_kick(engine);
	}
}

static bool call_spare(struct engine *engine)
{
	if (engine->benched > engine->called) {
		engine->called++;
		engine->running++;
		pthread_cond_signal(&engine->bench);
		return true;
	}
	return engine->threads < engine->most_threads && engine_start_worker(engine) == 0;
}

int engine_supervisor_fd(const struct engine *engine)
{
	return engine->watch_fd;
}

bool engine_supervise(struct engine *engine)
{
	uint64_t expirations;
	bool missing = false, called = false, progress;

	engine_lock(engine);
	if (read(engine->watch_fd, &expirations, sizeof expirations) < 0) {
		/* EAGAIN: it has been set again meanwhile */
	}
	for (unsigned i = 0; i < engine->threads; i++) {
		struct worker *worker = &engine->worker[i];
		/* relaxed, one writer; partner: worker_main() */
		uint64_t steps = atomic_load_explicit(&worker->steps, memory_order_relaxed);

		if (worker->serving && steps == worker->steps_watched &&
		    !atomic_load_explicit(&worker->aside, memory_order_relaxed) && thread_waits(worker->thread_id)) {
			put_aside(worker);
			missing = true;
		}
		worker->steps_watched = steps;
	}
	while (engine->running < engine->workers && call_spare(engine))
		called = true;
	if (missing && !called && engine->awake == 0)
		wake_one(engine);
	engine->watching = engine->awake > 0 || engine->running < engine->workers;
	if (engine->watching)
		set_timer(engine, LOOK_NS);
	progress = engine->progress_made;
	engine->progress_made = false;
	engine_unlock(engine);
	return progress;
}

bool engine_healthy(struct engine *engine)
{
	unsigned working = 0;
	bool healthy = true;

	for (unsigned i = 0; i < engine->threads; i++) {
		struct worker *worker = &engine->worker[i];
		/* relaxed; partners: worker_main(), put_aside() */
		uint64_t steps = atomic_load_explicit(&worker->steps, memory_order_relaxed);
		bool aside = atomic_load_explicit(&worker->aside, memory_order_relaxed);

		working += !aside;
		if (steps == worker->steps_seen && !atomic_load_explicit(&worker->asleep, memory_order_relaxed) &&
		    !(aside && thread_waits(worker->thread_id)))
			healthy = false;
		worker->steps_seen = steps;
	}
	return healthy && working > 0;
}
