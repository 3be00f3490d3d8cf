/* SPDX-License-Identifier: BSD-3-Clause */
#include "libvdm/runtime.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "cancellation.h"
#include "slot_state.h"

/* Rounds of polling before going to sleep: a few microseconds. */
#define BUSY_ROUNDS 200

/* Futures that call no waker are polled this often. */
#define POLL_NS 50000

/* For up to this many futures no memory is allocated. */
#define FEW_FUTURES 64

/*
 * All waiting threads share one condition. `wakes` counts the calls of wakers, so that one between
 * a look and the sleep is not lost. The wakers' data is the runtime, which outlives every wait, so
 * a waker may come late.
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

/* The futures waited for, and what the last round of polling found. */
struct wait {
	struct runtime *runtime;
	struct future **futures;
	size_t count;
	bool *asynchronous; /* for each future whether it is; NULL: not known */
	size_t incomplete;
	bool silent; /* one of the incomplete futures calls no waker */
};

static void poll_one(struct wait *wait, struct future *future)
{
	struct future_notifier notifier = {.waker = {.data = wait->runtime, .wake = wake},
					   .notifier_used = FUTURE_NOTIFIER_NONE};

	if (future_poll(future, &notifier) == FUTURE_STATE_COMPLETE)
		return;
	wait->incomplete++;
	if (notifier.notifier_used != FUTURE_NOTIFIER_WAKER)
		wait->silent = true;
}

/* Asynchronous futures are polled first, so that they run beside the others. A chain can change
 * from one to the other. */
static void poll_all(struct wait *wait)
{
	wait->incomplete = 0;
	wait->silent = false;
	for (size_t i = 0; wait->asynchronous && i < wait->count; i++)
		wait->asynchronous[i] =
			wait->futures[i]->context.state != FUTURE_STATE_COMPLETE &&
			future_has_property(wait->futures[i], FUTURE_PROPERTY_ASYNC) > 0;
	for (size_t i = 0; wait->asynchronous && i < wait->count; i++)
		if (wait->asynchronous[i])
			poll_one(wait, wait->futures[i]);
	for (size_t i = 0; i < wait->count; i++)
		if (!wait->asynchronous || !wait->asynchronous[i])
			poll_one(wait, wait->futures[i]);
}

static void poll_until_complete(struct wait *wait)
{
	struct runtime *runtime = wait->runtime;

	for (unsigned rounds = 0;; rounds++) {
		uint64_t wakes = wakes_so_far(runtime);

		poll_all(wait);
		if (wait->incomplete == 0)
			return;
		if (rounds < BUSY_ROUNDS) {
			__FUTURE_WAIT();
			continue;
		}
		if (wait->silent || mover_in_waker()) {
			nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
			continue;
		}
		pthread_mutex_lock(&runtime->lock);
		while (runtime->wakes == wakes)
			pthread_cond_wait(&runtime->woken, &runtime->lock);
		pthread_mutex_unlock(&runtime->lock);
	}
}

void runtime_wait_multiple(struct runtime *runtime, struct future *futs[], size_t nfuts)
{
	WITHOUT_CANCELLATION;
	bool few[FEW_FUTURES];
	struct wait wait = {.runtime = runtime, .futures = futs, .count = nfuts};

	if (nfuts > FEW_FUTURES)
		wait.asynchronous = malloc(nfuts * sizeof *wait.asynchronous);
	else if (nfuts > 1)
		wait.asynchronous = few;
	poll_until_complete(&wait);
	if (wait.asynchronous != few)
		free(wait.asynchronous);
}

void runtime_wait(struct runtime *runtime, struct future *future)
{
	runtime_wait_multiple(runtime, &future, 1);
}
