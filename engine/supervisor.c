/* SPDX-License-Identifier: BSD-3-Clause */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* Two looks that find a worker at the same step: so others wait for at most twice as long. */
#define LOOK_NS 10000000

void supervisor_init(struct supervisor *supervisor)
{
	*supervisor = (struct supervisor){.timer_fd = -1};
}

int supervisor_open(struct supervisor *supervisor)
{
	supervisor->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return supervisor->timer_fd < 0 ? -errno : 0;
}

void supervisor_close(struct supervisor *supervisor)
{
	if (supervisor->timer_fd >= 0)
		close(supervisor->timer_fd);
}

static void set_timer(struct supervisor *supervisor)
{
	const struct itimerspec once = {.it_value.tv_nsec = LOOK_NS};

	supervisor->set = true;
	timerfd_settime(supervisor->timer_fd, 0, &once, NULL);
}

void supervisor_begin(struct supervisor *supervisor)
{
	if (supervisor->timer_fd >= 0 && !supervisor->set)
		set_timer(supervisor);
}

bool supervisor_has_surplus(const struct crew *crew)
{
	/* the last one awake has to stay: those that sleep do not know that there is something to
	 * do */
	return crew_running(crew) > crew->workers && crew_awake(crew) > 1;
}

void supervisor_wake(struct crew *crew, const struct doorbells *doorbells)
{
	if (crew->in[WORKER_POLLING] + crew->in[WORKER_CALLED] == 0 &&
	    !crew_call(crew, WORKER_PARKED) && crew->in[WORKER_DOORBELLS] > 0)
		doorbells_kick(doorbells);
}

int supervisor_reserve_stats(struct crew *crew)
{
	int result = 0, ends[2];

	/* of a pipe, which no other process has */
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	for (unsigned i = 0; !result && i < crew->most_threads; i++) {
		crew->worker[i].stat_fd = fcntl(ends[0], F_DUPFD_CLOEXEC, 0);
		if (crew->worker[i].stat_fd < 0)
			result = -errno;
	}
	close(ends[0]);
	close(ends[1]);
	return result;
}

int thread_open_stat(int reserved)
{
	close(reserved);
	return open("/proc/thread-self/stat", O_RDONLY | O_CLOEXEC);
}

bool thread_waits(int stat_fd)
{
	char text[256];
	ssize_t length = pread(stat_fd, text, sizeof text - 1, 0);

	if (length <= 0)
		return false;
	text[length] = '\0';

	/* "id (name) state ...": proc(5) */
	const char *name_end = strrchr(text, ')');

	return name_end && (strncmp(name_end, ") D", 3) == 0 || strncmp(name_end, ") S", 3) == 0);
}

/* Those that serve a queue, and are at the same step as at the last look. */
static void find_suspects(struct crew *crew)
{
	for (unsigned i = 0; i < crew->threads; i++) {
		struct worker *worker = &crew->worker[i];
		/* relaxed, one writer; partner: worker_main() */
		uint64_t steps = atomic_load_explicit(&worker->steps, memory_order_relaxed);

		worker->suspect =
			worker_is(worker, WORKER_SERVING) && steps == worker->steps_supervised;
		worker->steps_supervised = steps;
	}
}

/* While a worker serves a queue, it waits in the kernel for pages of the client's alone. Without
 * the lock. */
static void question_suspects(struct crew *crew)
{
	for (unsigned i = 0; i < crew->threads; i++)
		if (crew->worker[i].suspect)
			crew->worker[i].suspect = thread_waits(crew->worker[i].stat_fd);
}

/* Suspend the accounts whose memory workers wait for. Returns whether any is stuck that was not
 * before. */
static bool put_stuck_aside(struct crew *crew, struct scheduler *scheduler)
{
	bool any = false;

	for (unsigned i = 0; i < crew->threads; i++) {
		struct worker *worker = &crew->worker[i];
		/* relaxed, one writer; partner: worker_main() */
		uint64_t steps = atomic_load_explicit(&worker->steps, memory_order_relaxed);

		if (!worker->suspect || !worker_is(worker, WORKER_SERVING) ||
		    steps != worker->steps_supervised)
			continue;
		crew_set_state(worker, WORKER_STUCK);
		scheduler_suspend(scheduler, worker->serving->account);
		any = true;
	}
	return any;
}

/* Have as many workers run as there should. Returns whether one was called or started. */
static bool replace_stuck(struct crew *crew)
{
	bool any = false, missing;

	do {
		crew_lock(crew);
		missing = crew_running(crew) < crew->workers;
		if (missing && crew_call(crew, WORKER_BENCHED)) {
			any = true;
			crew_unlock(crew);
			continue;
		}
		crew_unlock(crew);
		missing = missing && crew->threads < crew->most_threads &&
			  crew_start_worker(crew) == 0;
		any |= missing;
	} while (missing);
	return any;
}

void supervisor_look(struct supervisor *supervisor, struct crew *crew, struct scheduler *scheduler,
		     const struct doorbells *doorbells)
{
	uint64_t expirations;

	crew_lock(crew);
	if (read(supervisor->timer_fd, &expirations, sizeof expirations) < 0) {
		/* EAGAIN: it has been set again meanwhile */
	}
	find_suspects(crew);
	crew_unlock(crew);
	question_suspects(crew);
	crew_lock(crew);
	bool found = put_stuck_aside(crew, scheduler);

	crew_unlock(crew);
	bool replaced = replace_stuck(crew);

	crew_lock(crew);
	if (found && !replaced)
		supervisor_wake(crew, doorbells);
	supervisor->set = false;
	if (crew_awake(crew) > 0 || crew_running(crew) < crew->workers)
		set_timer(supervisor);
	crew_unlock(crew);
}
