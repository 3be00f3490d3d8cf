/* SPDX-License-Identifier: BSD-3-Clause */
#include "libvdm/runtime.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

/* Rounds of polling before going to sleep: a few microseconds. */
#define BUSY_ROUNDS 200

/* What nobody will wake us for is polled this often. */
#define POLL_NS 50000

/*
 * All who wait share one condition: `wakes` counts what has happened, so that a wake between looking and
 * sleeping is not lost. The wakers' data is the runtime, which outlives every wait: a waker that comes late
 * finds it.
 */
struct runtime {
	pthread_mutex_t lock;
	pthread_cond_t woken;
	uint64_t wakes;
};

struct runtime *runtime_new(void)
{
	struct runtime *runtime = calloc(1, sizeof *runtime);

	if (!runtime)
		return NULL;
	pthread_mutex_init(&runtime->lock, NULL);
	pthread_cond_init(&runtime->woken, NULL);
	return runtime;
}

void runtime_delete(struct runtime *runtime)
{
	if (!runtime)
		return;
	pthread_cond_destroy(&runtime->woken);
	pthread_mutex_destroy(&runtime->lock);
	free(runtime);
}

static void wake(void *data)
{
	struct runtime *runtime = data;

	pthread_mutex_lock(&runtime->lock);
	runtime->wakes++;
	pthread_cond_broadcast(&runtime->woken);
	pthread_mutex_unlock(&runtime->lock);
}

static uint64_t wakes_so_far(struct runtime *runtime)
{
	pthread_mutex_lock(&runtime->lock);
	uint64_t wakes = runtime->wakes;

	pthread_mutex_unlock(&runtime->lock);
	return wakes;
}

/* What a round of polling found. */
struct round {
	size_t incomplete;
	bool silent;       /* one of these will not wake us */
};

static void poll_one(struct runtime *runtime, struct future *future, struct round *round)
{
	struct future_notifier notifier = {.waker = {.data = runtime, .wake = wake},
					   .notifier_used = FUTURE_NOTIFIER_NONE};

	if (future_poll(future, &notifier) == FUTURE_STATE_COMPLETE)
		return;
	round->incomplete++;
	if (notifier.notifier_used != FUTURE_NOTIFIER_WAKER)
		round->silent = true;
}

static struct round poll_all(struct runtime *runtime, struct future *futs[], size_t nfuts)
{
	struct round round = {0};

	for (size_t i = 0; i < nfuts; i++)
		poll_one(runtime, futs[i], &round);
	return round;
}

/* Start what runs by itself first, so that it runs beside what does not. */
static void start_asynchronous(struct runtime *runtime, struct future *futs[], size_t nfuts)
{
	struct round ignored = {0};

	for (size_t i = 0; nfuts > 1 && i < nfuts; i++)
		if (futs[i]->context.state == FUTURE_STATE_IDLE &&
		    future_has_property(futs[i], FUTURE_PROPERTY_ASYNC))
			poll_one(runtime, futs[i], &ignored);
}

void runtime_wait_multiple(struct runtime *runtime, struct future *futs[], size_t nfuts)
{
	start_asynchronous(runtime, futs, nfuts);
	for (unsigned rounds = 0;; rounds++) {
		uint64_t wakes = wakes_so_far(runtime);
		struct round round = poll_all(runtime, futs, nfuts);

		if (round.incomplete == 0)
			return;
		if (rounds < BUSY_ROUNDS) {
			__FUTURE_WAIT();
			continue;
		}
		if (round.silent) {
			nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
			continue;
		}
		pthread_mutex_lock(&runtime->lock);
		while (runtime->wakes == wakes)
			pthread_cond_wait(&runtime->woken, &runtime->lock);
		pthread_mutex_unlock(&runtime->lock);
	}
}

void runtime_wait(struct runtime *runtime, struct future *future)
{
	runtime_wait_multiple(runtime, &future, 1);
}
