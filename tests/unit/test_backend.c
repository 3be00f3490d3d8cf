/* SPDX-License-Identifier: BSD-3-Clause */
/* A backend that carries an operation out when the test says so: meanwhile no worker is at it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>

#include "op/backend.h"
#include "raw_ring.h"
#include "removal.h"

enum { BYTES = 1 << 20 };

/* Operations of this length are the backend's. */
#define LENGTH 100000

/* It keeps requests until the test takes them. */
struct slow_backend {
	struct backend backend; /* first */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct backend_request *request;
	bool at_once; /* complete before submit() returns */
	bool lingers; /* submit() takes its time, and carries it out */
	int refusal;  /* of submit(); 0: none */
};

struct fixture {
	struct slow_backend slow;
	struct engine *engine;
	struct engine_account *account;
	struct engine_memory *regions;
	struct raw_ring ring;
	char *memory;
	uint32_t region;
};

static bool supports(const struct backend *backend, const struct operation *operation)
{
	(void)backend;
	return operation->length == LENGTH;
}

static void complete(struct backend_request *request, int32_t error)
{
	const struct operation *operation = request->operation;

	if (!error)
		memset(operation->destination, operation->fill, operation->length);
	request->done = error ? 0 : request->length;
	request->error = error;
	request->completed(request);
}

static int submit(struct backend *backend, struct backend_request *request)
{
	struct slow_backend *slow = (struct slow_backend *)backend;

	if (slow->refusal)
		return slow->refusal;
	if (slow->lingers) {
		poll(NULL, 0, 5);
		request->done = request->length;
		return 0;
	}
	if (slow->at_once) {
		complete(request, 0);
		return -EINPROGRESS;
	}
	pthread_mutex_lock(&slow->lock);
	slow->request = request;
	pthread_cond_signal(&slow->changed);
	pthread_mutex_unlock(&slow->lock);
	return -EINPROGRESS;
}

/* The request that the engine submits next. */
static struct backend_request *take_request(struct slow_backend *slow)
{
	pthread_mutex_lock(&slow->lock);
	while (!slow->request)
		pthread_cond_wait(&slow->changed, &slow->lock);
	struct backend_request *request = slow->request;

	slow->request = NULL;
	pthread_mutex_unlock(&slow->lock);
	return request;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	const struct engine_options options = {
		.workers = 2, .spin_us = 50, .backend = &f->slow.backend};

	*state = f;
	f->slow.backend = (struct backend){supports, submit};
	pthread_mutex_init(&f->slow.lock, NULL);
	pthread_cond_init(&f->slow.changed, NULL);
	f->memory = calloc(2, BYTES);
	if (engine_new(&options, &f->engine) < 0 ||
	    engine_account_new(f->engine, &f->account) < 0 ||
	    engine_memory_new(f->engine, 2, &f->regions) < 0 ||
	    engine_region_add(f->regions, f->memory, 2 * BYTES, true, &f->region) < 0)
		return -1;
	raw_ring_open(&f->ring, f->engine, f->account, f->regions, 8, 0);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	raw_ring_close(&f->ring, NULL);
	engine_memory_delete(f->regions);
	engine_account_delete(f->account);
	engine_delete(f->engine);
	pthread_cond_destroy(&f->slow.changed);
	pthread_mutex_destroy(&f->slow.lock);
	free(f->memory);
	free(f);
	return 0;
}

static void put(struct fixture *f, size_t length, uint16_t flags)
{
	const struct vdm_descriptor d = {.opcode = VDM_OPCODE_MEMSET,
					 .flags = flags,
					 .destination_region = f->region,
					 .length = length,
					 .pattern = 'b'};

	raw_put(&f->ring, &d);
	raw_bell(&f->ring);
}

/* No completion is there, and no worker is awake. */
static void await_sleep(struct fixture *f)
{
	while (engine_awake(f->engine) > 0)
		poll(NULL, 0, 1);
	const struct vdm_completion *next =
		&vdm_completions(f->ring.completion)[f->ring.cq & (f->ring.entries - 1)];

	assert_int_not_equal(atomic_load(&next->sequence), f->ring.cq + 1);
}

static void an_operation_in_progress_holds_no_worker(void **state)
{
	struct fixture *f = *state;

	put(f, LENGTH, 0);
	struct backend_request *request = take_request(&f->slow);

	/* others are carried out meanwhile, small and large */
	put(f, 64, 0);
	assert_int_equal(raw_get(&f->ring)->operation, 1);
	put(f, BYTES, 0);
	assert_int_equal(raw_get(&f->ring)->operation, 2);
	await_sleep(f);
	memset(f->memory, 0, BYTES);
	complete(request, 0);
	const struct vdm_completion *completion = raw_get(&f->ring);

	assert_non_null(completion);
	assert_int_equal(completion->operation, 0);
	assert_int_equal(completion->result, 0);
	assert_int_equal(completion->value, LENGTH);
	assert_int_equal(f->memory[LENGTH - 1], 'b');
	assert_int_equal(f->memory[LENGTH], 0);
}

static void what_is_ordered_after_it_waits(void **state)
{
	struct fixture *f = *state;

	put(f, LENGTH, 0);
	struct backend_request *request = take_request(&f->slow);

	put(f, 64, VDM_DESCRIPTOR_FENCE);
	await_sleep(f);
	complete(request, 0);
	assert_int_equal(raw_get(&f->ring)->operation, 0);
	assert_int_equal(raw_get(&f->ring)->operation, 1);
}

static void its_error_reaches_the_client_and_its_chain(void **state)
{
	struct fixture *f = *state;

	put(f, LENGTH, VDM_DESCRIPTOR_LINK);
	put(f, 64, 0);
	complete(take_request(&f->slow), -EIO);
	assert_int_equal(raw_get(&f->ring)->result, -EIO);
	assert_int_equal(raw_get(&f->ring)->result, -ECANCELED);
	f->slow.refusal = -ENOSPC;
	put(f, LENGTH, 0);
	assert_int_equal(raw_get(&f->ring)->result, -ENOSPC);
}

static void it_may_be_complete_before_submit_returns(void **state)
{
	struct fixture *f = *state;

	f->slow.at_once = true;
	for (unsigned i = 0; i < 1000; i++) {
		put(f, LENGTH, 0);
		assert_int_equal(raw_get(&f->ring)->result, 0);
	}
}

/* A ring that keeps a worker awake, with the second half of the memory. */
struct noise {
	struct fixture *fixture;
	struct raw_ring ring;
	_Atomic bool stop; /* relaxed: it ends some time later */
};

static void *make_noise(void *argument)
{
	struct noise *noise = argument;
	struct vdm_descriptor large = {.opcode = VDM_OPCODE_MEMSET,
				       .destination_region = noise->fixture->region,
				       .length = BYTES / 2};

	while (!atomic_load_explicit(&noise->stop, memory_order_relaxed)) {
		for (unsigned i = 0; i < 2; i++) {
			large.destination_offset = BYTES + i * large.length;
			raw_put(&noise->ring, &large);
		}
		raw_bell(&noise->ring);
		for (unsigned i = 0; i < 2; i++)
			assert_non_null(raw_get(&noise->ring));
	}
	return NULL;
}

/* While one worker submits, another finds the ring quiet: it must not be left to its doorbell
 * then. */
static void what_waits_for_it_is_not_lost(void **state)
{
	struct fixture *f = *state;
	struct noise noise = {.fixture = f};
	pthread_t thread;

	f->slow.lingers = true;
	raw_ring_open(&noise.ring, f->engine, f->account, f->regions, 8, 0);
	assert_int_equal(pthread_create(&thread, NULL, make_noise, &noise), 0);
	for (unsigned i = 0; i < 20; i++) {
		put(f, LENGTH, 0);
		put(f, 64, VDM_DESCRIPTOR_FENCE);
		assert_int_equal(raw_get(&f->ring)->operation, 2 * i);
		assert_non_null(raw_get(&f->ring));
	}
	atomic_store_explicit(&noise.stop, true, memory_order_relaxed);
	pthread_join(thread, NULL);
	raw_ring_close(&noise.ring, NULL);
}

/* Begin it, and wait until it waits. */
static void begin_waiting(struct fixture *f, struct removal *removal)
{
	const struct wait *wait = removal->queue ? &removal->queue->wait : &removal->regions->wait;
	unsigned waiting;

	removal_begin(removal);
	while (removals_told(f->engine, wait, &waiting) == 0 && waiting == 0)
		poll(NULL, 0, 1);
	assert_false(removal_is_done(removal));
}

/* Nor does a worker poll for as long as a region waits for a backend. */
static void the_engine_sleeps_while_a_region_is_leaving(void **state)
{
	struct fixture *f = *state;
	struct removal removal = {.regions = f->regions, .region = f->region};

	put(f, LENGTH, 0);
	struct backend_request *request = take_request(&f->slow);

	begin_waiting(f, &removal);
	put(f, 0, 0);
	await_sleep(f);
	assert_false(removal_is_done(&removal));
	complete(request, 0);
	assert_int_equal(raw_get(&f->ring)->result, 0);
	removal_end(&removal);
	/* what came meanwhile is served now: there is no such region any more */
	assert_int_equal(raw_get(&f->ring)->result, -EFAULT);
}

static void removals_wait_for_it(void **state)
{
	struct fixture *f = *state;
	struct removal of_ring = {.queue = f->ring.queue},
		       of_region = {.regions = f->regions, .region = f->region};

	put(f, LENGTH, 0);
	struct backend_request *request = take_request(&f->slow);

	begin_waiting(f, &of_region);
	begin_waiting(f, &of_ring);
	complete(request, 0);
	removal_end(&of_ring);
	removal_end(&of_region);
	assert_int_equal(raw_get(&f->ring)->result, 0);
	raw_ring_free(&f->ring);
	raw_ring_open(&f->ring, f->engine, f->account, f->regions, 8, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(an_operation_in_progress_holds_no_worker),
		TEST(what_is_ordered_after_it_waits),
		TEST(its_error_reaches_the_client_and_its_chain),
		TEST(it_may_be_complete_before_submit_returns),
		TEST(what_waits_for_it_is_not_lost),
		TEST(removals_wait_for_it),
		TEST(the_engine_sleeps_while_a_region_is_leaving),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
