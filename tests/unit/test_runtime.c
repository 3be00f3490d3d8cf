/* SPDX-License-Identifier: BSD-3-Clause */
/* client/runtime.c: waiting for futures of every kind, without burning a CPU and without sleeping
 * for ever. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <libvdm.h>

static struct runtime *runtime;
static struct data_mover_threads *mover;
static struct data_mover_sync *synchronous;

static int set_up(void **state)
{
	(void)state;
	runtime = runtime_new();
	mover = data_mover_threads_new(1, 16, FUTURE_NOTIFIER_WAKER);
	synchronous = data_mover_sync_new();
	return !(runtime && mover && synchronous);
}

static int tear_down(void **state)
{
	(void)state;
	runtime_delete(runtime);
	data_mover_threads_delete(mover);
	data_mover_sync_delete(synchronous);
	return 0;
}

/* Defect 3: never returned. */
static void waiting_for_what_is_complete_returns(void **state)
{
	struct vdm_operation_future born, done;
	struct future *both[] = {&born.base, &done.base};
	char byte;

	(void)state;
	FUTURE_INIT_COMPLETE(&born);
	done = vdm_memset(data_mover_threads_get_vdm(mover), &byte, 1, 1, 0);
	FUTURE_BUSY_POLL(&done);
	runtime_wait(runtime, &born.base);
	runtime_wait(runtime, &done.base);
	runtime_wait_multiple(runtime, both, 2);
	runtime_wait_multiple(runtime, NULL, 0);
}

/* Defect 6: the caller's array stays as it is. */
static void futures_of_every_kind_at_once(void **state)
{
	static char bytes[64][50000];
	struct vdm_operation_future future[64];
	struct future *futures[64], *order[64];

	(void)state;
	for (unsigned i = 0; i < 64; i++) {
		if (i % 5 == 0)
			FUTURE_INIT_COMPLETE(&future[i]);
		else
			future[i] = vdm_memset(i % 5 == 1 ? data_mover_sync_get_vdm(synchronous)
							  : data_mover_threads_get_vdm(mover),
					       bytes[i], (int)i, sizeof bytes[i], 0);
		futures[i] = order[i] = FUTURE_AS_RUNNABLE(&future[i]);
	}
	runtime_wait_multiple(runtime, futures, 64);
	assert_memory_equal(futures, order, sizeof order);
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(FUTURE_STATE(&future[i]), FUTURE_STATE_COMPLETE);
		if (i % 5) {
			assert_int_equal(FUTURE_OUTPUT(&future[i])->result, VDM_SUCCESS);
			assert_int_equal(bytes[i][49999], i);
		}
	}
}

static void what_was_started_without_a_notifier_wakes_too(void **state)
{
	static char to[8 << 20], from[8 << 20];

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		struct vdm_operation_future copy =
			vdm_memcpy(data_mover_threads_get_vdm(mover), to, from, sizeof to, 0);

		future_poll(FUTURE_AS_RUNNABLE(&copy), NULL);
		runtime_wait(runtime, FUTURE_AS_RUNNABLE(&copy));
		assert_int_equal(FUTURE_OUTPUT(&copy)->result, VDM_SUCCESS);
	}
}

/* A future of the program's own: complete when a thread says so, which then calls the waker; or
 * after so many polls. */
struct slow_data {
	struct slow_state *state;
};

struct slow_state {
	pthread_mutex_t lock;
	struct future_waker waker;
	int use_waker, complete;
	_Atomic unsigned polls;
	unsigned enough; /* polls after which it is complete by itself; 0: never */
};

struct slow_output {
	int unused;
};

FUTURE(slow, struct slow_data, struct slow_output);

static enum future_state slow_task(struct future_context *context, struct future_notifier *notifier)
{
	struct slow_state *state = ((struct slow_data *)future_context_get_data(context))->state;

	pthread_mutex_lock(&state->lock);
	if (++state->polls == state->enough)
		state->complete = 1;
	if (state->use_waker) {
		state->waker = notifier->waker;
		notifier->notifier_used = FUTURE_NOTIFIER_WAKER;
	}
	enum future_state now = state->complete ? FUTURE_STATE_COMPLETE : FUTURE_STATE_RUNNING;

	pthread_mutex_unlock(&state->lock);
	return now;
}

static void *complete_later(void *argument)
{
	struct slow_state *state = argument;

	nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	pthread_mutex_lock(&state->lock);
	state->complete = 1;
	struct future_waker waker = state->waker;

	pthread_mutex_unlock(&state->lock);
	FUTURE_WAKER_WAKE(&waker);
	return NULL;
}

/* It sleeps: a busy wait would go on polling until the other thread has come. */
static void it_sleeps_until_it_is_woken(void **test)
{
	struct slow_state state = {.lock = PTHREAD_MUTEX_INITIALIZER, .use_waker = 1};
	struct slow future = {.data = {.state = &state}};
	pthread_t thread;

	(void)test;
	FUTURE_INIT(&future, slow_task);
	pthread_create(&thread, NULL, complete_later, &state);
	runtime_wait(runtime, FUTURE_AS_RUNNABLE(&future));
	pthread_join(thread, NULL);
	assert_int_equal(FUTURE_STATE(&future), FUTURE_STATE_COMPLETE);
	assert_true(state.polls < 1000);
}

/* Between most polls it sleeps. */
static void it_polls_now_and_then_what_does_not_wake(void **test)
{
	struct slow_state state = {.lock = PTHREAD_MUTEX_INITIALIZER, .enough = 1000};
	struct slow future = {.data = {.state = &state}};
	struct rusage before, after;

	(void)test;
	FUTURE_INIT(&future, slow_task);
	getrusage(RUSAGE_THREAD, &before);
	runtime_wait(runtime, FUTURE_AS_RUNNABLE(&future));
	getrusage(RUSAGE_THREAD, &after);
	assert_int_equal(FUTURE_STATE(&future), FUTURE_STATE_COMPLETE);
	assert_int_equal(state.polls, state.enough);
	assert_true(after.ru_nvcsw - before.ru_nvcsw > state.enough / 2);
}

/* Futures that note in which order they come to their end. */
struct entrant_data {
	int polls, name;
};

FUTURE(entrant, struct entrant_data, struct slow_output);

static int arrivals[8], arrived;

static enum future_state entrant_task(struct future_context *context,
				      struct future_notifier *notifier)
{
	struct entrant_data *data = future_context_get_data(context);

	(void)notifier;
	if (--data->polls > 0)
		return FUTURE_STATE_RUNNING;
	arrivals[arrived++] = data->name;
	return FUTURE_STATE_COMPLETE;
}

static int is_asynchronous(void *future, enum future_property property)
{
	(void)future;
	return property == FUTURE_PROPERTY_ASYNC;
}

static struct entrant new_entrant(int name, int asynchronous)
{
	struct entrant entrant = {.data = {.polls = 5, .name = name}};

	FUTURE_INIT_EXT(&entrant, entrant_task, asynchronous ? is_asynchronous : NULL);
	return entrant;
}

struct relay_data {
	FUTURE_CHAIN_ENTRY(struct entrant, first);
	FUTURE_CHAIN_ENTRY_LAST(struct entrant, second);
};

FUTURE(relay, struct relay_data, struct slow_output);

static void chains_that_turn_asynchronous_are_preferred_from_then_on(void **state)
{
	struct relay relay[3] = {0};
	struct future *futures[3];
	/* the second one begins asynchronous, the others become it */
	static const int expected[] = {10, 0, 20, 1, 21, 11};

	(void)state;
	for (int i = 0; i < 3; i++) {
		FUTURE_CHAIN_ENTRY_INIT(&relay[i].data.first, new_entrant(i * 10, i == 1), NULL,
					NULL);
		FUTURE_CHAIN_ENTRY_INIT(&relay[i].data.second, new_entrant(i * 10 + 1, i != 1),
					NULL, NULL);
		FUTURE_CHAIN_INIT(&relay[i]);
		futures[i] = FUTURE_AS_RUNNABLE(&relay[i]);
	}
	runtime_wait_multiple(runtime, futures, 3);
	assert_memory_equal(arrivals, expected, sizeof expected);
}

/* The operation offers to wake, and is complete when it is polled a second time; the future after
 * it never notifies. */
struct silent_chain_data {
	FUTURE_CHAIN_ENTRY(struct vdm_operation_future, copy);
	FUTURE_CHAIN_ENTRY_LAST(struct entrant, silent);
};

FUTURE(silent_chain, struct silent_chain_data, struct slow_output);

static void a_chain_that_ends_in_silence_is_polled_to_its_end(void **state)
{
	static char to[256 << 10], from[256 << 10];

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		struct silent_chain chain = {0};

		arrived = 0;
		FUTURE_CHAIN_ENTRY_INIT(&chain.data.copy,
					vdm_memcpy(data_mover_threads_get_vdm(mover), to, from,
						   sizeof to, 0),
					NULL, NULL);
		FUTURE_CHAIN_ENTRY_INIT(&chain.data.silent, new_entrant(0, 0), NULL, NULL);
		/* more than are made before the first sleep */
		chain.data.silent.fut.data.polls = 210;
		FUTURE_CHAIN_INIT(&chain);
		runtime_wait(runtime, FUTURE_AS_RUNNABLE(&chain));
		assert_int_equal(arrived, 1);
	}
}

static void *wait_for_a_slow_one(void *argument)
{
	/* not on this stack, which ASan does not see unwound by the cancellation */
	struct slow *future = argument;

	runtime_wait(runtime, FUTURE_AS_RUNNABLE(future));
	pthread_testcancel();
	return NULL;
}

/* Others can still use the runtime, whose lock the thread had while it slept. */
static void a_thread_is_cancelled_after_its_wait(void **state)
{
	struct slow_state slow = {.lock = PTHREAD_MUTEX_INITIALIZER, .use_waker = 1};
	struct slow future = {.data = {.state = &slow}};
	pthread_t waiter;
	void *result;

	(void)state;
	FUTURE_INIT(&future, slow_task);
	pthread_create(&waiter, NULL, wait_for_a_slow_one, &future);
	for (unsigned before = 0;;) { /* until it sleeps, or nearly so */
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
		if (slow.polls > 0 && slow.polls == before)
			break;
		before = slow.polls;
	}
	pthread_cancel(waiter);
	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	it_sleeps_until_it_is_woken(NULL);
	complete_later(&slow);
	pthread_join(waiter, &result);
	assert_ptr_equal(result, PTHREAD_CANCELED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waiting_for_what_is_complete_returns),
		cmocka_unit_test(futures_of_every_kind_at_once),
		cmocka_unit_test(what_was_started_without_a_notifier_wakes_too),
		cmocka_unit_test(it_sleeps_until_it_is_woken),
		cmocka_unit_test(it_polls_now_and_then_what_does_not_wake),
		cmocka_unit_test(chains_that_turn_asynchronous_are_preferred_from_then_on),
		cmocka_unit_test(a_chain_that_ends_in_silence_is_polled_to_its_end),
		cmocka_unit_test(a_thread_is_cancelled_after_its_wait),
	};

	alarm(1000);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
