/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens when an operation is taken back at the moment at which the daemon begins it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/ring.h"
#include "client/ring_eventfd.h"
#include "client/ring_take_back.h"
#include "puppet_daemon.h"

#define SIZE ((size_t)64 << 10) /* more than VDM_CLAIM_BYTES */

static struct puppet_daemon puppet;
static struct puppet_client own;
static struct vdm_ring *ring; /* of that client, with the memory of its region */
static char *memory;

/* What to do at the first store into a page that has been made read-only; it is writable
 * afterwards. */
static struct {
	char *page;
	void (*act)(void);
} at_store;

static void on_fault(int number, siginfo_t *info, void *context)
{
	char *address = info->si_addr;

	(void)context;
	if (address < at_store.page || address >= at_store.page + 4096) {
		/* a mistake of the test's: it happens again, and ends it */
		signal(number, SIG_DFL);
		return;
	}
	at_store.act();
	mprotect(at_store.page, 4096, PROT_READ | PROT_WRITE);
}

static void act_at_store(void *page, void (*act)(void))
{
	const struct sigaction action = {.sa_sigaction = on_fault,
					 .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigaction(SIGSEGV, &action, NULL); /* in place of the test framework's */
	at_store.page = page;
	at_store.act = act;
	assert_int_equal(mprotect(page, 4096, PROT_READ), 0);
}

static int set_up(void **state)
{
	(void)state;
	puppet_start(&puppet);
	puppet_client_open(&own, &puppet, 0, 4 * SIZE);
	ring = own.ring;
	memory = own.memory;
	memset(memory, 'a', SIZE);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	puppet_client_close(&own);
	puppet_stop(&puppet);
	return 0;
}

static void submit_copy(void)
{
	puppet_client_submit_copy(&own, SIZE);
}

static void claim_the_first(void)
{
	puppet_claim(&puppet, 1);
}

/* Both have seen each other: the daemon will say that it has not carried the operation out. */
static void take_back_too_late(void)
{
	submit_copy();
	act_at_store(ring->submission, claim_the_first);
	assert_false(ring_take_back(ring, true));
}

static void expect_next(int32_t result)
{
	struct vdm_cqe *cqe;

	assert_int_equal(vdm_ring_peek_cqe(ring, &cqe), 0);
	assert_int_equal(cqe->result, result);
	vdm_ring_cqe_seen(ring, cqe);
}

static void a_contested_operation_is_carried_out_when_the_daemon_says_so(void **state)
{
	(void)state;
	take_back_too_late();
	assert_int_equal(memory[SIZE], 0);
	puppet_complete(&puppet, 0, -ECANCELED, VDM_COMPLETION_TAKEN_BACK);
	expect_next(0);
	assert_int_equal(memory[SIZE], 'a');
	assert_int_equal(memory[2 * SIZE - 1], 'a');
}

static void a_contested_operation_that_the_daemon_carried_out_is_left_alone(void **state)
{
	(void)state;
	take_back_too_late();
	puppet_complete(&puppet, 0, 0, 0);
	expect_next(0);
	assert_int_equal(memory[SIZE], 0);
}

/* To the daemon a contested operation is complete as soon as it is found taken back: a fence must
 * not rely on that. */
static void behind_a_contested_operation_is_published(void (*prepare)(void), unsigned entries,
						      unsigned published)
{
	take_back_too_late();
	prepare();
	assert_int_equal(vdm_ring_submit(ring), entries);
	assert_int_equal(puppet_published(&puppet), 1 + published);
	puppet_complete(&puppet, 0, -ECANCELED, VDM_COMPLETION_TAKEN_BACK);
	expect_next(0);
	assert_int_equal(memory[SIZE], 'a'); /* carried out before the others were published */
	assert_int_equal(puppet_published(&puppet), 1 + entries);
	for (unsigned i = 1; i <= entries; i++)
		puppet_complete(&puppet, i, 0, 0);
	for (unsigned i = 1; i <= entries; i++)
		expect_next(0);
}

static void prepare_fence(void)
{
	vdm_prep_memcpy(vdm_ring_get_sqe(ring), memory + 2 * SIZE, memory + SIZE, SIZE,
			VDM_SQE_FENCE);
}

static void prepare_flush(void)
{
	vdm_prep_flush(vdm_ring_get_sqe(ring), NULL, 0, 0);
}

static void prepare_chain(void)
{
	vdm_prep_memset(vdm_ring_get_sqe(ring), memory + 3 * SIZE, 1, SIZE, VDM_SQE_LINK);
	vdm_prep_memset(vdm_ring_get_sqe(ring), memory + 3 * SIZE, 2, SIZE, 0);
}

static void prepare_another(void)
{
	vdm_prep_memset(vdm_ring_get_sqe(ring), memory + 3 * SIZE, 1, SIZE, 0);
}

static void a_fence_waits_for_a_contested_operation(void **state)
{
	(void)state;
	behind_a_contested_operation_is_published(prepare_fence, 1, 0);
}

static void a_flush_waits_for_a_contested_operation(void **state)
{
	(void)state;
	behind_a_contested_operation_is_published(prepare_flush, 1, 0);
}

static void a_chain_waits_for_a_contested_operation(void **state)
{
	(void)state;
	behind_a_contested_operation_is_published(prepare_chain, 2, 0);
}

static void what_is_not_ordered_does_not(void **state)
{
	(void)state;
	behind_a_contested_operation_is_published(prepare_another, 1, 1);
}

/* Releasing a region while another thread of the process carries an operation out on it. */

static sem_t release_now;
static _Atomic pid_t releaser; /* 0 until it releases */
static _Atomic bool released, released_too_early;

static void *release_region(void *unused)
{
	(void)unused;
	sem_wait(&release_now);
	releaser = (pid_t)syscall(SYS_gettid);
	vdm_region_release(own.region);
	released = true;
	return NULL;
}

/* In the middle of the copy: the other thread releases, and has to wait. */
static void release_meanwhile(void)
{
	sem_post(&release_now);
	while (releaser == 0)
		usleep(100);
	await_sleep(releaser, &released);
	released_too_early = released || puppet_received(&puppet, VDM_MESSAGE_REGION_REMOVE) > 0;
}

static void while_released(void (*begin)(void), bool (*run)(void))
{
	char *seen = mmap(NULL, 4 * SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			  vdm_region_fd(own.region), 0);
	pthread_t thread;

	released = released_too_early = false;
	releaser = 0;
	sem_init(&release_now, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, release_region, NULL), 0);
	begin();
	act_at_store(memory + SIZE, release_meanwhile);
	assert_true(run());
	pthread_join(thread, NULL);
	assert_false(released_too_early);
	assert_int_equal(seen[2 * SIZE - 1], 'a');
	munmap(seen, 4 * SIZE);
	own.region = NULL;
}

static bool take_it_back(void)
{
	return ring_take_back(ring, true);
}

static void release_waits_for_an_operation_that_has_been_taken_back(void **state)
{
	(void)state;
	while_released(submit_copy, take_it_back);
}

static void take_too_late_and_complete(void)
{
	take_back_too_late();
	puppet_complete(&puppet, 0, -ECANCELED, VDM_COMPLETION_TAKEN_BACK);
}

static bool reap_it(void)
{
	struct vdm_cqe *cqe;

	return vdm_ring_peek_cqe(ring, &cqe) == 0 && cqe->result == 0;
}

static void release_waits_for_an_operation_that_was_contested(void **state)
{
	(void)state;
	while_released(take_too_late_and_complete, reap_it);
}

static void prepare_small(void)
{
	ring->threshold = SIZE + 1;
	vdm_prep_memcpy(vdm_ring_get_sqe(ring), memory + SIZE, memory, SIZE, 0);
}

static bool submit_it(void)
{
	return vdm_ring_submit(ring) == 1;
}

static void release_waits_for_an_operation_in_the_local_lane(void **state)
{
	(void)state;
	while_released(prepare_small, submit_it);
}

/* The answer for an operation that was taken back uses up the request for a signal, and is
 * dropped. */
static void the_descriptor_tells_of_what_comes_after_a_dropped_answer(void **state)
{
	struct vdm_cqe *cqe;

	(void)state;
	assert_true(vdm_ring_eventfd(ring) >= 0);
	submit_copy();
	assert_true(ring_take_back(ring, true));
	expect_next(0);
	submit_copy();
	assert_int_equal(vdm_ring_peek_cqe(ring, &cqe), -EAGAIN);
	puppet_complete(&puppet, 0, -ECANCELED, VDM_COMPLETION_TAKEN_BACK);
	ring_eventfd_arm(ring); /* as if it had come when the peek had looked already */
	assert_int_equal(atomic_load(&ring->client_line->wanted), 2);
	puppet_complete(&puppet, 1, 0, 0);
	expect_next(0);
}

static void *wait_for_two(void *cqes)
{
	vdm_ring_wait_cqes(ring, cqes, 2, NULL);
	return NULL;
}

/* A cancelled wait for two leaves a request for the next one, as one that has timed out. */
static void the_descriptor_tells_of_what_comes_after_a_cancelled_wait(void **state)
{
	struct vdm_cqe *cqes[2];
	pthread_t thread;

	(void)state;
	assert_true(vdm_ring_eventfd(ring) >= 0);
	ring->takes_back = false;
	submit_copy();
	submit_copy();
	assert_int_equal(pthread_create(&thread, NULL, wait_for_two, cqes), 0);
	while (atomic_load(&ring->client_line->wanted) != 2)
		sched_yield();
	assert_int_equal(pthread_cancel(thread), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(atomic_load(&ring->client_line->wanted), 1);
	puppet_complete(&puppet, 0, 0, 0);
	puppet_complete(&puppet, 1, 0, 0);
	expect_next(0);
	expect_next(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(a_contested_operation_is_carried_out_when_the_daemon_says_so),
		TEST(a_contested_operation_that_the_daemon_carried_out_is_left_alone),
		TEST(a_fence_waits_for_a_contested_operation),
		TEST(a_flush_waits_for_a_contested_operation),
		TEST(a_chain_waits_for_a_contested_operation),
		TEST(what_is_not_ordered_does_not),
		TEST(the_descriptor_tells_of_what_comes_after_a_dropped_answer),
		TEST(the_descriptor_tells_of_what_comes_after_a_cancelled_wait),
		TEST(release_waits_for_an_operation_that_has_been_taken_back),
		TEST(release_waits_for_an_operation_that_was_contested),
		TEST(release_waits_for_an_operation_in_the_local_lane),
	};

	alarm(100);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
