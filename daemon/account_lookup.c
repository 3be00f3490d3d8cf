/* SPDX-License-Identifier: BSD-3-Clause */
#include "account_lookup.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "detached_thread.h"

#define WAIT_NS  (ACCOUNT_LOOKUP_WAIT_MS * 1000000ull)
#define HURRY_NS (ACCOUNT_LOOKUP_HURRY_MS * 1000000ull)

/*
 * One for the process, as libsubid has static data. Its thread lives until the process ends: it may
 * hang in a question.
 */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t asked, answered;
	enum { LOOKUP_FREE, LOOKUP_ASKED, LOOKUP_ANSWERED } state;
	uid_t question;
	int result;
	struct subordinate answer;

	/* The event loop's: */
	bool started;
	uint64_t hurry_until_ns; /* CLOCK_MONOTONIC */
} lookup = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *lookup_main(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&lookup.lock);
	for (;;) {
		while (lookup.state != LOOKUP_ASKED)
			pthread_cond_wait(&lookup.asked, &lookup.lock);

		const uid_t question = lookup.question;
		struct subordinate answer;

		pthread_mutex_unlock(&lookup.lock);
		int result = subordinate_find(question, &answer);

		pthread_mutex_lock(&lookup.lock);
		lookup.result = result;
		lookup.answer = answer;
		lookup.state = LOOKUP_ANSWERED;
		pthread_cond_signal(&lookup.answered);
	}
	return NULL;
}

static int start(void)
{
	pthread_condattr_t attributes;

	if (lookup.started)
		return 0;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&lookup.asked, NULL);
	pthread_cond_init(&lookup.answered, &attributes);
	pthread_condattr_destroy(&attributes);
	if (detached_thread_start(lookup_main, NULL) < 0)
		return -EAGAIN;
	lookup.started = true;
	return 0;
}

/* Take an answer that has come. Holding the lock. */
static int take(struct subordinate *answer)
{
	if (lookup.state != LOOKUP_ANSWERED)
		return -EAGAIN;
	lookup.state = LOOKUP_FREE;
	*answer = lookup.answer;
	return lookup.result ? -EAGAIN : 0;
}

/* Wait for the answer, but not for long. Holding the lock. */
static void wait_for_answer(void)
{
	const uint64_t now = monotonic_ns();
	const bool hurry = now < lookup.hurry_until_ns;
	const uint64_t end = now + (hurry ? HURRY_NS : WAIT_NS);
	const struct timespec deadline = {.tv_sec = (time_t)(end / 1000000000),
					  .tv_nsec = (long)(end % 1000000000)};

	while (lookup.state == LOOKUP_ASKED &&
	       pthread_cond_timedwait(&lookup.answered, &lookup.lock, &deadline) != ETIMEDOUT)
		;
	if (lookup.state == LOOKUP_ASKED && !hurry)
		lookup.hurry_until_ns = end + ACCOUNT_LOOKUP_HURRY_TIMES * WAIT_NS;
}

int account_lookup(uid_t uid, struct subordinate *answer)
{
	int result = start();

	if (result)
		return result;
	pthread_mutex_lock(&lookup.lock);
	if (lookup.state == LOOKUP_FREE) {
		lookup.question = uid;
		lookup.state = LOOKUP_ASKED;
		pthread_cond_signal(&lookup.asked);
		wait_for_answer();
		result = take(answer);
	} else {
		result = -EAGAIN;
	}
	pthread_mutex_unlock(&lookup.lock);
	return result;
}

bool account_lookup_late(struct subordinate *answer)
{
	pthread_mutex_lock(&lookup.lock);
	int result = take(answer);

	pthread_mutex_unlock(&lookup.lock);
	return result == 0;
}
