/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client/mover*.c and waker.c: the contract of a mover, for each of them. The daemon mover runs
 * without a daemon here; with one it runs in the integration tests.
 */
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <libvdm.h>
#include <libvdm-miniasync/libminiasync-vdm-dml.h>

#undef data_mover_threads_new /* the others are those of libvdm.h */
#undef data_mover_threads_default

static struct data_mover_threads *threads;
static struct data_mover_sync *synchronous;
static struct data_mover_daemon *daemonic;
static struct vdm *vdms[3];

static int set_up(void **state)
{
	const struct vdm_options options = {.size = sizeof options, .flags = VDM_OPTION_LOCAL_ONLY};

	(void)state;
	threads = data_mover_threads_new(2, 16, FUTURE_NOTIFIER_WAKER);
	synchronous = data_mover_sync_new();
	daemonic = data_mover_daemon_new(&options);
	assert_true(threads && synchronous && daemonic);
	vdms[0] = data_mover_threads_get_vdm(threads);
	vdms[1] = data_mover_sync_get_vdm(synchronous);
	vdms[2] = data_mover_daemon_get_vdm(daemonic);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	data_mover_threads_delete(threads);
	data_mover_sync_delete(synchronous);
	data_mover_daemon_delete(daemonic);
	return 0;
}

static unsigned threads_at_first;

static unsigned threads_of_this_process(void)
{
	DIR *tasks = opendir("/proc/self/task");
	unsigned count = 0;

	while (readdir(tasks))
		count++;
	closedir(tasks);
	return count;
}

static enum vdm_operation_result run(struct vdm_operation_future future)
{
	FUTURE_BUSY_POLL(&future);
	return FUTURE_OUTPUT(&future)->result;
}

static void all_operations_do_what_they_say(void **state)
{
	(void)state;
	for (unsigned m = 0; m < 3; m++) {
		static char bytes[1 << 20], from[1 << 20];
		static const char constant[] = "read-only source";
		char stack[64];

		for (size_t i = 0; i < sizeof from; i++)
			from[i] = (char)(i * 31 + i / 256);
		struct vdm_operation_future copy =
			vdm_memcpy(vdms[m], bytes, from, sizeof bytes, 0);

		FUTURE_BUSY_POLL(&copy);
		assert_int_equal(FUTURE_OUTPUT(&copy)->type, VDM_OPERATION_MEMCPY);
		assert_int_equal(FUTURE_OUTPUT(&copy)->result, VDM_SUCCESS);
		assert_ptr_equal(FUTURE_OUTPUT(&copy)->output.memcpy.dest, bytes);
		assert_memory_equal(bytes, from, sizeof bytes);
		assert_int_equal(run(vdm_memmove(vdms[m], bytes + 1, bytes, sizeof bytes - 1, 0)),
				 VDM_SUCCESS);
		assert_memory_equal(bytes + 1, from, sizeof bytes - 1);
		assert_int_equal(run(vdm_memset(vdms[m], bytes, 0x1ff, 1000, VDM_F_NO_CACHE_HINT)),
				 VDM_SUCCESS);
		assert_int_equal((unsigned char)bytes[999], 0xff);
		assert_int_equal(bytes[1000], from[999]);
		assert_int_equal(run(vdm_memcpy(vdms[m], stack, (void *)(uintptr_t)constant,
						sizeof constant, 0)),
				 VDM_SUCCESS);
		assert_string_equal(stack, constant);
		assert_int_equal(run(vdm_memcpy(vdms[m], NULL, NULL, 0, 0)), VDM_SUCCESS);
		assert_int_equal(run(vdm_memset(vdms[m], NULL, 0, 0, 0)), VDM_SUCCESS);
	}
}

/* Defects 2 and 9: a flush ended the process, and every failure was a success. */
static void flush_orders_and_what_cannot_be_done_says_so(void **state)
{
	static char bytes[4096];

	(void)state;
	for (unsigned m = 0; m < 3; m++) {
		assert_int_equal(run(vdm_flush(vdms[m], bytes, sizeof bytes, 0)), VDM_SUCCESS);
		/* the last one can for what lies in files */
		assert_int_equal(vdm_is_supported(vdms[m], VDM_F_MEM_DURABLE), m == 2);
		assert_int_equal(run(vdm_flush(vdms[m], bytes, 1, VDM_F_MEM_DURABLE)),
				 VDM_ERROR_JOB_CORRUPTED);
		assert_int_equal(run(vdm_memset(vdms[m], bytes, 1, 10, VDM_F_MEM_DURABLE)),
				 VDM_ERROR_JOB_CORRUPTED);
		assert_int_equal(run(vdm_memset(vdms[m], bytes, 1, 10, (uint64_t)1 << 40)),
				 VDM_ERROR_JOB_CORRUPTED);
		assert_int_equal(bytes[0], 0);
	}
}

static void the_sync_mover_claims_no_hint_and_takes_it(void **state)
{
	char bytes[10000];

	(void)state;
	assert_false(vdm_is_supported(vdms[1], VDM_F_NO_CACHE_HINT));
	assert_int_equal(run(vdm_memset(vdms[1], bytes, 3, sizeof bytes, VDM_F_NO_CACHE_HINT)),
			 VDM_SUCCESS);
	assert_int_equal(bytes[9999], 3);
}

/* Under the names of libminiasync-vdm-dml. What lies behind the last byte cannot be touched. */
static void durable_operations_move_ordinary_memory(void **state)
{
	struct data_mover_dml *mover = data_mover_dml_new(DATA_MOVER_DML_AUTO);
	struct vdm *vdm = data_mover_dml_get_vdm(mover);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	     *middle = pages + page;
	static const size_t lengths[] = {0, 1, 63, 64, 65, 200};
	char from[200];

	(void)state;
	assert_int_equal(mprotect(middle, page, PROT_READ | PROT_WRITE), 0);
	if (!vdm_is_supported(vdm, VDM_F_MEM_DURABLE))
		skip();
	memset(from, 9, sizeof from);
	for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		size_t n = lengths[i];
		char *last = middle + page - n;

		assert_int_equal(run(vdm_memcpy(vdm, last, from, n, VDM_F_MEM_DURABLE)),
				 VDM_SUCCESS);
		assert_memory_equal(last, from, n);
		assert_int_equal(run(vdm_memset(vdm, middle, 7, n,
						VDM_F_MEM_DURABLE | VDM_F_NO_CACHE_HINT)),
				 VDM_SUCCESS);
		assert_int_equal(run(vdm_memmove(vdm, middle + 1, middle, n, VDM_F_MEM_DURABLE)),
				 VDM_SUCCESS);
		assert_int_equal(middle[n], n > 0 ? 7 : 0);
		assert_int_equal(run(vdm_flush(vdm, last, n, 0)), VDM_SUCCESS);
	}
	assert_int_equal(run(vdm_memset(vdm, middle, 1, 1, (uint64_t)1 << 40)),
			 VDM_ERROR_JOB_CORRUPTED);
	assert_null(data_mover_dml_new((enum data_mover_dml_type)3));
	munmap(pages, 3 * page);
	data_mover_dml_delete(mover);
}

static void the_operation_is_read_when_it_is_started(void **state)
{
	(void)state;
	for (unsigned m = 0; m < 3; m++) {
		char right[16] = "", wrong[16] = "";
		struct vdm_operation_future born = vdm_memset(vdms[m], wrong, 'x', 4, 0), moved;

		born.data.operation.data.memset.str = right;
		born.data.operation.data.memset.n = 5;
		memcpy(&moved, &born, sizeof moved);
		memset(&born, 0xee, sizeof born);
		FUTURE_BUSY_POLL(&moved);
		assert_string_equal(right, "xxxxx");
		assert_string_equal(wrong, "");
		assert_ptr_equal(FUTURE_OUTPUT(&moved)->output.memset.str, right);
	}
}

/* Defect 7, and the limit: an operation that is never started takes no entry of a ring. */
static void operations_that_are_never_started_hold_up_no_other(void **state)
{
	static struct vdm_operation_future idle[100000];
	static char byte;

	(void)state;
	for (unsigned m = 0; m < 3; m++) {
		unsigned made = 0;

		while (made < 100000) {
			idle[made] = vdm_memset(vdms[m], &byte, 1, 1, 0);
			if (FUTURE_STATE(&idle[made]) == FUTURE_STATE_COMPLETE)
				break;
			made++;
		}
		assert_true(made > 17000 && made < 100000); /* as many as libminiasync's have */
		assert_int_equal(FUTURE_OUTPUT(&idle[made])->result, VDM_ERROR_OUT_OF_MEMORY);
		assert_int_equal(FUTURE_OUTPUT(&idle[made])->type, VDM_OPERATION_MEMSET);
		assert_int_equal(future_has_property(FUTURE_AS_RUNNABLE(&idle[made]),
						     FUTURE_PROPERTY_ASYNC),
				 0);
		/* finishing one makes room for one, however often */
		for (unsigned i = 0; i < 1000; i++) {
			FUTURE_BUSY_POLL(&idle[made / 2]);
			assert_int_equal(FUTURE_OUTPUT(&idle[made / 2])->result, VDM_SUCCESS);
			idle[made / 2] = vdm_memset(vdms[m], &byte, 1, 1, 0);
			assert_int_equal(FUTURE_STATE(&idle[made / 2]), FUTURE_STATE_IDLE);
		}
		while (made > 0) {
			made--;
			FUTURE_BUSY_POLL(&idle[made]);
		}
	}
}

struct skipping_data {
	FUTURE_CHAIN_ENTRY(struct vdm_operation_future, first);
	FUTURE_CHAIN_ENTRY_LAST(struct vdm_operation_future, skipped);
};

struct skipping_output {
	int unused;
};

FUTURE(skipping, struct skipping_data, struct skipping_output);

static void skip_next(struct future_context *lhs, struct future_context *rhs, void *arg)
{
	struct vdm_operation_output *output = future_context_get_output(rhs);

	(void)lhs;
	(void)arg;
	output->result = VDM_ERROR_JOB_CORRUPTED; /* the program's word for it */
	rhs->state = FUTURE_STATE_COMPLETE;
}

/* An operation that is skipped in a chain is never polled, but returns its slot. */
static void skipped_operations_make_room(void **state)
{
	static char bytes[2];

	(void)state;
	for (unsigned m = 0; m < 3; m++) {
		for (unsigned i = 0; i < 70000; i++) {
			struct skipping chain = {0};

			FUTURE_CHAIN_ENTRY_INIT(&chain.data.first,
						vdm_memset(vdms[m], &bytes[0], 1, 1, 0), skip_next,
						NULL);
			FUTURE_CHAIN_ENTRY_INIT(&chain.data.skipped,
						vdm_memset(vdms[m], &bytes[1], 1, 1, 0), NULL,
						NULL);
			FUTURE_CHAIN_INIT(&chain);
			assert_int_equal(FUTURE_STATE(&chain.data.skipped.fut), FUTURE_STATE_IDLE);
			FUTURE_BUSY_POLL(&chain);
			assert_int_equal(chain.data.first.fut.output.result, VDM_SUCCESS);
			assert_int_equal(chain.data.skipped.fut.output.result,
					 VDM_ERROR_JOB_CORRUPTED);
			/* another poll returns it no second time */
			future_poll(&chain.data.skipped.fut.base, NULL);
		}
		assert_int_equal(bytes[1], 0);
	}
}

static void *make_and_finish(void *argument)
{
	struct vdm_operation_future *future = calloc(5000, sizeof *future);
	char byte = 0;

	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < 5000; i++) {
			future[i] = vdm_memset(argument, &byte, 1, 1, 0);
			if (FUTURE_STATE(&future[i]) != FUTURE_STATE_IDLE)
				return "an operation could not be made";
		}
		for (unsigned i = 0; i < 5000; i++) {
			FUTURE_BUSY_POLL(&future[i]);
			if (FUTURE_OUTPUT(&future[i])->result != VDM_SUCCESS)
				return "an operation failed: two had the same slot";
		}
	}
	free(future);
	return NULL;
}

static void threads_make_operations_at_once(void **state)
{
	struct data_mover_sync *fresh = data_mover_sync_new();
	pthread_t thread[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, make_and_finish, data_mover_sync_get_vdm(fresh));
	for (unsigned i = 0; i < 4; i++) {
		void *problem;

		pthread_join(thread[i], &problem);
		assert_null(problem);
	}
	data_mover_sync_delete(fresh);
}

static void a_large_ring_is_accepted(void **state)
{
	struct data_mover_threads *large = data_mover_threads_new(1, 100000, FUTURE_NOTIFIER_WAKER);

	(void)state;
	assert_non_null(large);
	data_mover_threads_delete(large);
}

/* More than the ring has entries: those beyond try again. */
static void a_full_ring_means_later(void **state)
{
	static char bytes[200][4096];
	struct vdm_operation_future future[200];

	(void)state;
	for (unsigned i = 0; i < 200; i++)
		future[i] = vdm_memset(vdms[0], bytes[i], (int)i, sizeof bytes[i], 0);
	for (unsigned left = 200; left > 0;) {
		left = 0;
		for (unsigned i = 0; i < 200; i++)
			left += future_poll(FUTURE_AS_RUNNABLE(&future[i]), NULL) !=
				FUTURE_STATE_COMPLETE;
	}
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal((unsigned char)bytes[i][4095], i);
}

struct wait {
	sem_t semaphore;
	/* one waker may serve several operations, and be called by several threads */
	_Atomic unsigned calls;
};

static void post(void *data)
{
	struct wait *wait = data;

	wait->calls++;
	sem_post(&wait->semaphore);
}

/*
 * Defects 4 and 5: a thread that is woken finds the operation complete, and may then free the
 * waker's data and the future at once.
 */
static void woken_means_complete_and_the_waker_is_not_touched_afterwards(void **state)
{
	static char to[1 << 16], from[1 << 16];

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		struct wait *wait = malloc(sizeof *wait);
		struct vdm_operation_future *future = malloc(sizeof *future);
		struct future_notifier notifier = {.waker = {wait, post}};

		sem_init(&wait->semaphore, 0, 0);
		wait->calls = 0;
		*future = vdm_memcpy(vdms[0], to, from, 1 + i % sizeof to, 0);
		if (future_poll(FUTURE_AS_RUNNABLE(future), &notifier) != FUTURE_STATE_COMPLETE) {
			assert_int_equal(notifier.notifier_used, FUTURE_NOTIFIER_WAKER);
			/* should it be too early once, there is another wake to come */
			do
				sem_wait(&wait->semaphore);
			while (future_poll(FUTURE_AS_RUNNABLE(future), NULL) !=
			       FUTURE_STATE_COMPLETE);
			assert_true(wait->calls > 0);
		}
		assert_int_equal(FUTURE_OUTPUT(future)->result, VDM_SUCCESS);
		sem_destroy(&wait->semaphore);
		memset(wait, 0xee, sizeof *wait);
		memset(future, 0xee, sizeof *future);
		free(wait);
		free(future);
	}
}

static void another_notifier_replaces_the_first(void **state)
{
	static char to[4 << 20], from[4 << 20];
	struct wait first, second;

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		struct future_notifier before = {.waker = {&first, post}};
		struct future_notifier after = {.waker = {&second, post}};

		sem_init(&first.semaphore, 0, 0);
		sem_init(&second.semaphore, 0, 0);
		first.calls = second.calls = 0;
		struct vdm_operation_future copy = vdm_memcpy(vdms[0], to, from, sizeof to, 0);

		/* with none, then with one, then with another */
		if (future_poll(FUTURE_AS_RUNNABLE(&copy), NULL) == FUTURE_STATE_COMPLETE ||
		    future_poll(FUTURE_AS_RUNNABLE(&copy), &before) == FUTURE_STATE_COMPLETE)
			continue;
		enum future_state now = future_poll(FUTURE_AS_RUNNABLE(&copy), &after);

		if (now != FUTURE_STATE_COMPLETE && after.notifier_used == FUTURE_NOTIFIER_WAKER) {
			do
				sem_wait(&second.semaphore);
			while (future_poll(FUTURE_AS_RUNNABLE(&copy), NULL) !=
			       FUTURE_STATE_COMPLETE);
			assert_int_equal(first.calls, 0);
		} else {
			FUTURE_BUSY_POLL(&copy);
		}
	}
}

struct self_poller {
	pthread_mutex_t lock; /* a future is polled by one thread at a time */
	struct vdm_operation_future future;
	_Atomic int done;
};

static void poll_yourself(void *data)
{
	struct self_poller *self = data;

	pthread_mutex_lock(&self->lock);
	enum future_state now = future_poll(FUTURE_AS_RUNNABLE(&self->future), NULL);

	pthread_mutex_unlock(&self->lock);
	if (now == FUTURE_STATE_COMPLETE)
		self->done = 1;
}

static void a_waker_may_poll_its_own_future(void **state)
{
	static char to[1 << 20], from[1 << 20];

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		struct self_poller self = {.lock = PTHREAD_MUTEX_INITIALIZER};
		struct future_notifier notifier = {.waker = {&self, poll_yourself}};

		self.future = vdm_memcpy(vdms[0], to, from, sizeof to, 0);
		pthread_mutex_lock(&self.lock);
		enum future_state now = future_poll(FUTURE_AS_RUNNABLE(&self.future), &notifier);

		pthread_mutex_unlock(&self.lock);
		if (now == FUTURE_STATE_COMPLETE)
			continue;
		/* from now on the future is the waker's to poll */
		if (notifier.notifier_used != FUTURE_NOTIFIER_WAKER) {
			FUTURE_BUSY_POLL(&self.future);
			continue;
		}
		while (!self.done)
			sched_yield();
		assert_int_equal(FUTURE_OUTPUT(&self.future)->result, VDM_SUCCESS);
	}
}

/* Wakers that wait for another future each, which may be one whose waker is due or being called as
 * well. */
struct waiting_waker {
	struct vdm_operation_future future, other;
	struct runtime *runtime;
	sem_t woken;
	_Atomic bool waited;
};

static void wait_for_the_other(void *data)
{
	struct waiting_waker *w = data;

	if (w->waited)
		return; /* called once more, for the poller has looked too early */
	w->waited = true;
	runtime_wait(w->runtime, FUTURE_AS_RUNNABLE(&w->other));
	sem_post(&w->woken);
}

static void a_waker_may_wait_for_another_future(void **state)
{
	enum { WAITERS = 8 };
	static char to[WAITERS][100000], from[100000];
	struct runtime *runtime = runtime_new();

	(void)state;
	for (unsigned round = 0; round < 50; round++) {
		struct waiting_waker *w = calloc(WAITERS, sizeof *w);

		for (unsigned i = 0; i < WAITERS; i++) {
			struct future_notifier notifier = {.waker = {&w[i], wait_for_the_other}};

			w[i].runtime = runtime;
			sem_init(&w[i].woken, 0, 0);
			w[i].other = vdm_memset(vdms[0], to[i], 1, 10, 0);
			w[i].future = vdm_memcpy(vdms[0], to[i], from, sizeof from, 0);
			if (round % 2) /* it is in flight when the waker waits for it */
				future_poll(FUTURE_AS_RUNNABLE(&w[i].other), NULL);
			if (future_poll(FUTURE_AS_RUNNABLE(&w[i].future), &notifier) ==
				    FUTURE_STATE_COMPLETE ||
			    notifier.notifier_used != FUTURE_NOTIFIER_WAKER)
				sem_post(&w[i].woken);
		}
		for (unsigned i = 0; i < WAITERS; i++) {
			sem_wait(&w[i].woken);
			runtime_wait(runtime, FUTURE_AS_RUNNABLE(&w[i].future));
			sem_destroy(&w[i].woken);
		}
		free(w);
	}
	runtime_delete(runtime);
}

/* Two operations end at once, and the waker of the one waits for the other, whose own waker has not
 * been called yet. */
static void a_waker_may_wait_for_one_that_is_due(void **state)
{
	static char to[2][4096];
	struct data_mover_threads *mover = data_mover_threads_new(1, 16, FUTURE_NOTIFIER_WAKER);
	struct vdm *vdm = data_mover_threads_get_vdm(mover);

	(void)state;
	for (unsigned i = 0; i < 2000; i++) {
		struct waiting_waker w = {.runtime = runtime_new()};
		struct wait late = {.calls = 0};
		struct future_notifier first = {.waker = {&w, wait_for_the_other}};
		struct future_notifier second = {.waker = {&late, post}};

		sem_init(&w.woken, 0, 0);
		sem_init(&late.semaphore, 0, 0);
		w.future = vdm_memset(vdm, to[0], 1, sizeof to[0], 0);
		w.other = vdm_memset(vdm, to[1], 1, sizeof to[1], 0);
		/* from here on `other` is the waker's to poll, if it is to be called */
		enum future_state other = future_poll(FUTURE_AS_RUNNABLE(&w.other), &second);
		enum future_state one = future_poll(FUTURE_AS_RUNNABLE(&w.future), &first);

		if (one != FUTURE_STATE_COMPLETE && first.notifier_used == FUTURE_NOTIFIER_WAKER)
			sem_wait(&w.woken);
		else if (other != FUTURE_STATE_COMPLETE)
			FUTURE_BUSY_POLL(&w.other);
		FUTURE_BUSY_POLL(&w.future);
		runtime_delete(w.runtime);
		sem_destroy(&w.woken);
		sem_destroy(&late.semaphore);
	}
	data_mover_threads_delete(mover);
}

struct last_one {
	pthread_mutex_t lock; /* a future is polled by one thread at a time */
	struct data_mover_threads *mover;
	struct vdm_operation_future future;
	sem_t gone;
};

static void delete_your_mover(void *data)
{
	struct last_one *last = data;

	pthread_mutex_lock(&last->lock);
	assert_int_equal(future_poll(FUTURE_AS_RUNNABLE(&last->future), NULL),
			 FUTURE_STATE_COMPLETE);
	pthread_mutex_unlock(&last->lock);
	data_mover_threads_delete(last->mover);
	sem_post(&last->gone);
}

static void a_waker_may_delete_its_mover(void **state)
{
	static char to[8 << 20], from[8 << 20];

	(void)state;
	threads_at_first = threads_of_this_process();
	for (unsigned i = 0; i < 20; i++) {
		struct last_one last = {
			.lock = PTHREAD_MUTEX_INITIALIZER,
			.mover = data_mover_threads_new(1, 8, FUTURE_NOTIFIER_WAKER)};
		struct future_notifier notifier = {.waker = {&last, delete_your_mover}};

		sem_init(&last.gone, 0, 0);
		last.future =
			vdm_memcpy(data_mover_threads_get_vdm(last.mover), to, from, sizeof to, 0);
		pthread_mutex_lock(&last.lock);
		enum future_state now = future_poll(FUTURE_AS_RUNNABLE(&last.future), &notifier);

		pthread_mutex_unlock(&last.lock);
		/* from now on the future is the waker's */
		if (now == FUTURE_STATE_COMPLETE || notifier.notifier_used != FUTURE_NOTIFIER_WAKER)
			data_mover_threads_delete(last.mover);
		else
			sem_wait(&last.gone);
		sem_destroy(&last.gone);
	}
	while (threads_of_this_process() > threads_at_first)
		sched_yield(); /* the threads that released the movers have ended */
}

static void deleting_a_mover_finishes_what_is_in_flight(void **state)
{
	enum { FLIGHTS = 16 };
	static char to[FLIGHTS][1 << 20], from[1 << 20];

	(void)state;
	memset(from, 5, sizeof from);
	for (unsigned round = 0; round < 20; round++) {
		struct data_mover_threads *mover =
			data_mover_threads_new(1, FLIGHTS, FUTURE_NOTIFIER_WAKER);
		struct vdm_operation_future future[FLIGHTS];
		struct wait wait = {.calls = 0};
		struct future_notifier notifier = {.waker = {&wait, post}};
		unsigned expected = 0;

		sem_init(&wait.semaphore, 0, 0);
		memset(to, 0, sizeof to);
		for (unsigned i = 0; i < FLIGHTS; i++) {
			future[i] = vdm_memcpy(data_mover_threads_get_vdm(mover), to[i], from,
					       sizeof from, 0);
			expected += future_poll(FUTURE_AS_RUNNABLE(&future[i]), &notifier) !=
				    FUTURE_STATE_COMPLETE;
		}
		data_mover_threads_delete(mover);
		/* an operation may end in its first poll, after its waker */
		assert_true(wait.calls >= expected);
		for (unsigned i = 0; i < FLIGHTS; i++)
			assert_memory_equal(to[i], from, sizeof from);
		sem_destroy(&wait.semaphore);
	}
}

static void *poll_with_a_cancellation_pending(void *argument)
{
	struct vdm_operation_future *future = argument;

	pthread_cancel(pthread_self());
	future_poll(FUTURE_AS_RUNNABLE(future), NULL);
	pthread_testcancel();
	return NULL;
}

/* The workers sleep, so that starting the operation makes a system call that is a cancellation
 * point. */
static void a_thread_is_cancelled_after_its_poll(void **state)
{
	static char byte;
	struct vdm_operation_future one = vdm_memset(vdms[0], &byte, 1, 1, 0);
	struct vdm_operation_future another = vdm_memset(vdms[0], &byte, 2, 1, 0);
	pthread_t thread;
	void *result;

	(void)state;
	usleep(50000);
	pthread_create(&thread, NULL, poll_with_a_cancellation_pending, &one);
	pthread_join(thread, &result);
	assert_ptr_equal(result, PTHREAD_CANCELED);
	assert_int_equal(run(another), VDM_SUCCESS);
	assert_int_equal(run(one), VDM_SUCCESS);
}

static void pollers_see_a_word_change(void **state)
{
	struct data_mover_threads *mover = data_mover_threads_new(1, 8, FUTURE_NOTIFIER_POLLER);
	static char to[4 << 20], from[4 << 20];

	(void)state;
	assert_non_null(mover);
	for (unsigned i = 0; i < 50; i++) {
		struct future_notifier notifier = {0};
		struct vdm_operation_future copy =
			vdm_memcpy(data_mover_threads_get_vdm(mover), to, from, sizeof to, 0);

		if (future_poll(FUTURE_AS_RUNNABLE(&copy), &notifier) == FUTURE_STATE_COMPLETE)
			continue;
		assert_int_equal(notifier.notifier_used, FUTURE_NOTIFIER_POLLER);
		/* no thread polls meanwhile */
		while (__atomic_load_n(notifier.poller.ptr_to_monitor, __ATOMIC_RELAXED) == 0)
			sched_yield();
		FUTURE_BUSY_POLL(&copy);
		assert_int_equal(FUTURE_OUTPUT(&copy)->result, VDM_SUCCESS);
	}
	data_mover_threads_delete(mover);
}

static void without_a_notifier_one_polls(void **state)
{
	struct data_mover_threads *mover = data_mover_threads_new(1, 8, FUTURE_NOTIFIER_NONE);
	struct future_notifier notifier = {.waker = {NULL, post},
					   .notifier_used = FUTURE_NOTIFIER_WAKER};
	static char to[1 << 20], from[1 << 20];

	(void)state;
	struct vdm_operation_future copy =
		vdm_memcpy(data_mover_threads_get_vdm(mover), to, from, sizeof to, 0);

	future_poll(FUTURE_AS_RUNNABLE(&copy), &notifier);
	assert_int_equal(notifier.notifier_used, FUTURE_NOTIFIER_NONE);
	FUTURE_BUSY_POLL(&copy);
	data_mover_threads_delete(mover);
}

/* Defect 8. */
static void impossible_movers_are_refused(void **state)
{
	(void)state;
	assert_null(data_mover_threads_new(0, 16, FUTURE_NOTIFIER_WAKER));
	assert_non_null(strstr(vdm_last_error(), "0 threads"));
	assert_null(data_mover_threads_new(1, 0, FUTURE_NOTIFIER_WAKER));
	assert_non_null(strstr(vdm_last_error(), "ringbuf_size"));
	assert_null(data_mover_threads_new(1000000, 16, FUTURE_NOTIFIER_WAKER));
	assert_null(data_mover_threads_new(1, 1, (enum future_notifier_type)7));
	struct data_mover_threads *smallest = data_mover_threads_new(1, 1, FUTURE_NOTIFIER_NONE);
	char byte = 0;

	assert_int_equal(run(vdm_memset(data_mover_threads_get_vdm(smallest), &byte, 5, 1, 0)),
			 VDM_SUCCESS);
	assert_int_equal(byte, 5);
	data_mover_threads_delete(smallest);
}

static _Atomic unsigned custom_calls, custom_flags;
static _Atomic size_t custom_bytes;

static void *custom_copy(void *dest, const void *src, size_t n, unsigned flags)
{
	custom_calls++;
	custom_flags = flags;
	custom_bytes = n;
	return memcpy(dest, src, n);
}

static void own_functions_are_used_and_taken_back(void **state)
{
	static char to[1 << 20], from[1 << 20];

	(void)state;
	data_mover_threads_set_memcpy_fn(threads, custom_copy);
	assert_int_equal(run(vdm_memcpy(vdms[0], to, from, sizeof to, VDM_F_NO_CACHE_HINT)),
			 VDM_SUCCESS);
	assert_int_equal(custom_calls, 1);
	assert_int_equal(custom_flags, VDM_F_NO_CACHE_HINT);
	data_mover_threads_set_memcpy_fn(threads, NULL);
	assert_int_equal(run(vdm_memcpy(vdms[0], to, from, sizeof to, 0)), VDM_SUCCESS);
	assert_int_equal(custom_calls, 1);
}

/* Sizes from which operations are cut up, or go around the cache, when the library's functions move
 * the bytes. */
static void own_functions_see_the_flags_that_were_given(void **state)
{
	static const size_t sizes[] = {1, 4096, 256 << 10, 300 << 10, 16 << 20, 40 << 20};
	char *to = malloc(40 << 20), *from = calloc(1, 40 << 20);

	(void)state;
	data_mover_threads_set_memcpy_fn(threads, custom_copy);
	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		for (unsigned flags = 0; flags <= VDM_F_NO_CACHE_HINT;
		     flags += VDM_F_NO_CACHE_HINT) {
			assert_int_equal(run(vdm_memcpy(vdms[0], to, from, sizes[i], flags)),
					 VDM_SUCCESS);
			assert_int_equal(custom_flags, flags);
			assert_int_equal(custom_bytes, sizes[i]);
		}
	}
	data_mover_threads_set_memcpy_fn(threads, NULL);
	free(to);
	free(from);
}

struct crowd {
	pthread_t thread;
	unsigned char *bytes;
	unsigned char value;
};

static void *work(void *argument)
{
	struct crowd *crowd = argument;
	struct vdm_operation_future future[8];

	for (unsigned round = 0; round < 300; round++) {
		struct wait wait = {.calls = 0};
		struct future_notifier notifier = {.waker = {&wait, post}};

		sem_init(&wait.semaphore, 0, 0);
		for (unsigned i = 0; i < 8; i++)
			future[i] = vdm_memset(vdms[round % 2 ? 0 : 2], crowd->bytes + i * 1000,
					       crowd->value + (int)round, 1000, 0);
		for (unsigned left = 8; left > 0;) {
			left = 0;
			for (unsigned i = 0; i < 8; i++)
				left += future_poll(FUTURE_AS_RUNNABLE(&future[i]),
						    round % 3 ? &notifier : NULL) !=
					FUTURE_STATE_COMPLETE;
		}
		sem_destroy(&wait.semaphore);
		for (unsigned i = 0; i < 8000; i++)
			if (crowd->bytes[i] != (unsigned char)(crowd->value + round))
				return "a byte is wrong";
	}
	return NULL;
}

static void threads_share_a_mover(void **state)
{
	struct crowd crowd[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		crowd[i].bytes = malloc(8000);
		crowd[i].value = (unsigned char)(i * 50);
		pthread_create(&crowd[i].thread, NULL, work, &crowd[i]);
	}
	for (unsigned i = 0; i < 4; i++) {
		void *problem;

		pthread_join(crowd[i].thread, &problem);
		assert_null(problem);
		free(crowd[i].bytes);
	}
}

static void in_a_forked_child_operations_fail(void **state)
{
	char byte = 0;
	int status;

	(void)state;
	assert_int_equal(run(vdm_memset(vdms[0], &byte, 1, 1, 0)), VDM_SUCCESS);
	pid_t child = fork();

	if (child == 0) {
		int failed = 0;

		for (unsigned m = 0; m < 3; m++)
			failed |=
				run(vdm_memset(vdms[m], &byte, 2, 1, 0)) != VDM_ERROR_JOB_CORRUPTED;
		failed |= byte != 1;
		tear_down(NULL);
		/* and the child's own mover works */
		threads = data_mover_threads_new(1, 4, FUTURE_NOTIFIER_WAKER);
		failed |= run(vdm_memset(data_mover_threads_get_vdm(threads), &byte, 3, 1, 0)) != 0;
		failed |= byte != 3;
		_exit(failed);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(run(vdm_memset(vdms[0], &byte, 4, 1, 0)), VDM_SUCCESS);
}

struct stuck {
	sem_t called, leave;
};

static void stay(void *data)
{
	struct stuck *stuck = data;

	sem_post(&stuck->called);
	sem_wait(&stuck->leave);
	sem_post(&stuck->leave); /* should it be called again */
}

/* The thread that is in the waker does not exist in the child. */
static void an_operation_whose_waker_is_being_called_fails_in_a_forked_child(void **state)
{
	static char to[8 << 20], from[8 << 20];
	struct stuck stuck;
	struct future_notifier notifier = {.waker = {&stuck, stay}};
	struct vdm_operation_future copy = vdm_memcpy(vdms[0], to, from, sizeof to, 0);
	int status = 0;

	(void)state;
	sem_init(&stuck.called, 0, 0);
	sem_init(&stuck.leave, 0, 0);
	assert_int_equal(future_poll(FUTURE_AS_RUNNABLE(&copy), &notifier), FUTURE_STATE_RUNNING);
	assert_int_equal(notifier.notifier_used, FUTURE_NOTIFIER_WAKER);
	sem_wait(&stuck.called);
	pid_t child = fork();

	if (child == 0) {
		alarm(10);
		_exit(run(copy) != VDM_ERROR_JOB_CORRUPTED);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	sem_post(&stuck.leave);
	assert_int_equal(run(copy), VDM_SUCCESS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_operations_do_what_they_say),
		cmocka_unit_test(flush_orders_and_what_cannot_be_done_says_so),
		cmocka_unit_test(the_sync_mover_claims_no_hint_and_takes_it),
		cmocka_unit_test(durable_operations_move_ordinary_memory),
		cmocka_unit_test(the_operation_is_read_when_it_is_started),
		cmocka_unit_test(operations_that_are_never_started_hold_up_no_other),
		cmocka_unit_test(skipped_operations_make_room),
		cmocka_unit_test(threads_make_operations_at_once),
		cmocka_unit_test(a_large_ring_is_accepted),
		cmocka_unit_test(a_full_ring_means_later),
		cmocka_unit_test(woken_means_complete_and_the_waker_is_not_touched_afterwards),
		cmocka_unit_test(another_notifier_replaces_the_first),
		cmocka_unit_test(a_waker_may_poll_its_own_future),
		cmocka_unit_test(a_waker_may_wait_for_another_future),
		cmocka_unit_test(a_waker_may_wait_for_one_that_is_due),
		cmocka_unit_test(a_waker_may_delete_its_mover),
		cmocka_unit_test(deleting_a_mover_finishes_what_is_in_flight),
		cmocka_unit_test(a_thread_is_cancelled_after_its_poll),
		cmocka_unit_test(pollers_see_a_word_change),
		cmocka_unit_test(without_a_notifier_one_polls),
		cmocka_unit_test(impossible_movers_are_refused),
		cmocka_unit_test(own_functions_are_used_and_taken_back),
		cmocka_unit_test(own_functions_see_the_flags_that_were_given),
		cmocka_unit_test(threads_share_a_mover),
		cmocka_unit_test(in_a_forked_child_operations_fail),
		cmocka_unit_test(an_operation_whose_waker_is_being_called_fails_in_a_forked_child),
	};

	alarm(1000); /* a wakeup that is lost is a test that fails, not one that hangs */
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
