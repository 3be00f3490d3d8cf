/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Workers that wait for a client's memory. Here it is userfaultfd(2) that lets them wait: a page
 * comes when the test says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "raw_ring.h"
#include "removal.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

enum { PAGES = 64, RINGS = 4 };

/* What has not come after so many ms hangs. */
#define HANG_MS 500000

/* A client with memory and rings of its own. */
struct client {
	struct engine_account *account;
	struct engine_memory *regions;
	struct raw_ring ring[RINGS];
	char *memory;
	uint32_t region;
};

struct fixture {
	struct engine *engine;
	struct client slow, quick;
	int faults;
	size_t page;
};

static void connect_client(struct fixture *f, struct client *client)
{
	const size_t size = PAGES * f->page;

	client->memory =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(client->memory != MAP_FAILED);
	assert_int_equal(engine_account_new(f->engine, &client->account), 0);
	assert_int_equal(engine_memory_new(f->engine, 2, &client->regions), 0);
	assert_int_equal(engine_region_add(client->regions, client->memory, size, true,
					   &client->region),
			 0);
	for (unsigned i = 0; i < RINGS; i++)
		raw_ring_open(&client->ring[i], f->engine, client->account, client->regions, 8, 0);
}

static void disconnect_client(struct fixture *f, struct client *client)
{
	for (unsigned i = 0; i < RINGS; i++)
		raw_ring_close(&client->ring[i], NULL);
	engine_memory_delete(client->regions);
	engine_account_delete(client->account);
	munmap(client->memory, PAGES * f->page);
}

/* Returns false if the kernel does not let us make faults wait. */
static bool start(struct fixture *f, unsigned workers)
{
	const struct engine_options options = {
		.workers = workers, .spin_us = 50, .supervised = true};
	struct uffdio_api api = {.api = UFFD_API};

	f->page = (size_t)sysconf(_SC_PAGESIZE);
	f->faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (f->faults < 0 || ioctl(f->faults, UFFDIO_API, &api) < 0)
		return false;
	assert_int_equal(engine_new(&options, &f->engine), 0);
	connect_client(f, &f->slow);
	connect_client(f, &f->quick);

	struct uffdio_register all = {
		.range = {.start = (uintptr_t)f->slow.memory, .len = PAGES * f->page},
		.mode = UFFDIO_REGISTER_MODE_MISSING};

	assert_int_equal(ioctl(f->faults, UFFDIO_REGISTER, &all), 0);
	return true;
}

static void stop(struct fixture *f)
{
	disconnect_client(f, &f->slow);
	disconnect_client(f, &f->quick);
	engine_delete(f->engine);
	close(f->faults);
}

static void set(struct client *client, unsigned ring, size_t offset, size_t length)
{
	const struct vdm_descriptor d = {.opcode = VDM_OPCODE_MEMSET,
					 .destination_region = client->region,
					 .destination_offset = offset,
					 .length = length,
					 .pattern = 7};

	raw_put(&client->ring[ring], &d);
	raw_bell(&client->ring[ring]);
}

static bool is_done(struct raw_ring *ring)
{
	const struct vdm_completion *slot =
		&vdm_completions(ring->completion)[ring->cq & (ring->entries - 1)];

	return atomic_load_explicit(&slot->sequence, memory_order_acquire) == ring->cq + 1;
}

/* What the thread that runs an engine does, for at most so many ms. */
static void supervise(struct fixture *f, int ms)
{
	struct pollfd timer = {.fd = engine_supervisor_fd(f->engine), .events = POLLIN};

	if (poll(&timer, 1, ms) > 0)
		engine_supervise(f->engine);
}

/* Supervise until the operation is done, or for `ms`. */
static bool supervise_until_done(struct fixture *f, struct raw_ring *ring, int ms)
{
	for (; ms > 0 && !is_done(ring); ms--)
		supervise(f, 1);
	return is_done(ring);
}

/* Supervise until a worker waits for a page of the slow client's: its first operation is not done
 * then, and will not be. */
static void await_stuck(struct fixture *f, struct raw_ring *ring)
{
	struct pollfd fault = {.fd = f->faults, .events = POLLIN};
	struct uffd_msg message;

	for (int ms = 0; ms < HANG_MS && poll(&fault, 1, 0) == 0; ms++)
		supervise(f, 1);
	assert_int_equal(read(f->faults, &message, sizeof message), sizeof message);
	assert_int_equal(message.event, UFFD_EVENT_PAGEFAULT);
	assert_false(is_done(ring));
}

static void let_pages_come(struct fixture *f)
{
	struct uffdio_range all = {.start = (uintptr_t)f->slow.memory, .len = PAGES * f->page};

	assert_int_equal(ioctl(f->faults, UFFDIO_UNREGISTER, &all), 0);
}

static void others_are_served_while_a_worker_waits_for_a_page(void **state)
{
	(void)state;
	for (unsigned workers = 1; workers <= 2; workers++) {
		struct fixture f;

		if (!start(&f, workers))
			skip();
		set(&f.slow, 0, 0, f.page);
		await_stuck(&f, &f.slow.ring[0]);
		/* asked for again and again: the substitute does what the other did, also sleep */
		for (unsigned i = 0; i < 3; i++) {
			set(&f.quick, 0, 0, f.page);
			assert_true(supervise_until_done(&f, &f.quick.ring[0], HANG_MS));
			f.quick.ring[0].cq++;
			assert_int_equal(poll(NULL, 0, 20), 0);
		}
		assert_false(is_done(&f.slow.ring[0]));
		let_pages_come(&f);
		assert_true(supervise_until_done(&f, &f.slow.ring[0], HANG_MS));
		stop(&f);
	}
}

static void one_account_gets_no_second_worker_stuck(void **state)
{
	struct fixture f;

	(void)state;
	if (!start(&f, 1))
		skip();
	set(&f.slow, 0, 0, f.page);
	await_stuck(&f, &f.slow.ring[0]);
	for (unsigned i = 1; i < RINGS; i++)
		set(&f.slow, i, 8 * i * f.page, f.page);
	set(&f.quick, 0, 0, f.page);
	assert_true(supervise_until_done(&f, &f.quick.ring[0], HANG_MS));
	/* and a substitute that is stuck itself would not serve this: */
	assert_false(supervise_until_done(&f, &f.slow.ring[1], 100));
	set(&f.quick, 1, 0, f.page);
	assert_true(supervise_until_done(&f, &f.quick.ring[1], HANG_MS));
	let_pages_come(&f);
	for (unsigned i = 0; i < RINGS; i++)
		assert_true(supervise_until_done(&f, &f.slow.ring[i], HANG_MS));
	stop(&f);
}

/* A large operation is moved without owning its ring. */
static void a_piece_may_be_stuck_as_well(void **state)
{
	struct fixture f;

	(void)state;
	if (!start(&f, 1))
		skip();
	set(&f.slow, 0, 0, PAGES * f.page);
	await_stuck(&f, &f.slow.ring[0]);
	set(&f.quick, 0, 0, PAGES * f.page);
	assert_true(supervise_until_done(&f, &f.quick.ring[0], HANG_MS));
	let_pages_come(&f);
	assert_true(supervise_until_done(&f, &f.slow.ring[0], HANG_MS));
	for (size_t i = 0; i < PAGES * f.page; i++)
		assert_int_equal(f.slow.memory[i], 7);
	stop(&f);
}

static void waiting_for_a_page_is_healthy(void **state)
{
	struct fixture f;

	(void)state;
	if (!start(&f, 1))
		skip();
	set(&f.slow, 0, 0, f.page);
	await_stuck(&f, &f.slow.ring[0]);
	/* as soon as it has been substituted, and from then on */
	unsigned healthy = 0;

	for (int ms = 0; ms < HANG_MS && healthy < 10; ms++) {
		supervise(&f, 1);
		healthy = engine_healthy(f.engine) ? healthy + 1 : 0;
	}
	assert_int_equal(healthy, 10);
	assert_false(is_done(&f.slow.ring[0]));
	let_pages_come(&f);
	assert_true(supervise_until_done(&f, &f.slow.ring[0], HANG_MS));
	stop(&f);
}

/* A worker that comes back when there are enough goes to the bench, and gets up when it is needed
 * again. */
static void workers_come_and_go(void **state)
{
	struct fixture f;

	(void)state;
	if (!start(&f, 1))
		skip();
	for (unsigned i = 0; i < 20; i++) {
		struct uffdio_range page = {.start = (uintptr_t)f.slow.memory + i * f.page,
					    .len = f.page};

		set(&f.slow, i % RINGS, i * f.page, f.page);
		await_stuck(&f, &f.slow.ring[i % RINGS]);
		set(&f.quick, i % RINGS, 0, f.page);
		assert_true(supervise_until_done(&f, &f.quick.ring[i % RINGS], HANG_MS));
		f.quick.ring[i % RINGS].cq++;

		struct uffdio_zeropage zero = {.range = page};

		assert_int_equal(ioctl(f.faults, UFFDIO_ZEROPAGE, &zero), 0);
		assert_true(supervise_until_done(&f, &f.slow.ring[i % RINGS], HANG_MS));
		f.slow.ring[i % RINGS].cq++;
	}
	let_pages_come(&f);
	stop(&f);
}

/* A worker that is stuck at a ring is not in the way of the account's other rings and regions. */
static void what_no_worker_is_at_comes_and_goes(void **state)
{
	struct fixture f;
	struct client *slow = &f.slow;
	uint32_t other;

	(void)state;
	if (!start(&f, 1))
		skip();
	set(slow, 0, 0, f.page);
	await_stuck(&f, &slow->ring[0]);
	assert_int_equal(engine_region_add(slow->regions, slow->memory, f.page, true, &other), 0);
	raw_ring_close(&slow->ring[1], NULL);
	raw_ring_open(&slow->ring[1], f.engine, slow->account, slow->regions, 8, 0);
	assert_false(is_done(&slow->ring[0]));
	let_pages_come(&f);
	stop(&f);
}

/* Threads that wait for a worker to let go of something are left alone until it does. */
static void a_removal_that_waits_is_nothing_to_others(void **state)
{
	for (unsigned of_ring = 0; of_ring <= 1; of_ring++) {
		struct fixture f;
		unsigned waiting = 0;

		(void)state;
		if (!start(&f, 1))
			skip();
		struct removal removal = {.queue = of_ring ? f.slow.ring[0].queue : NULL,
					  .regions = f.slow.regions,
					  .region = f.slow.region};
		const struct wait *wait = of_ring ? &removal.queue->wait : &removal.regions->wait;

		set(&f.slow, 0, 0, f.page);
		await_stuck(&f, &f.slow.ring[0]);
		removal_begin(&removal);
		while (removals_told(f.engine, wait, &waiting) == 0 && waiting == 0)
			supervise(&f, 1);
		for (unsigned i = 0; i < 100; i++) {
			set(&f.quick, 0, 0, f.page);
			assert_true(supervise_until_done(&f, &f.quick.ring[0], HANG_MS));
			f.quick.ring[0].cq++;
		}
		assert_int_equal(removals_told(f.engine, wait, &waiting), 0);
		assert_int_equal(waiting, 1);
		assert_false(removal_is_done(&removal));
		let_pages_come(&f);
		while (!removal_is_done(&removal))
			supervise(&f, 1);
		removal_end(&removal);
		assert_true(is_done(&f.slow.ring[0]));
		if (of_ring) {
			raw_ring_free(&f.slow.ring[0]);
			raw_ring_open(&f.slow.ring[0], f.engine, f.slow.account, f.slow.regions, 8,
				      0);
		} else {
			assert_int_equal(engine_region_remove(f.slow.regions, f.slow.region),
					 -ENOENT);
		}
		stop(&f);
	}
}

static void an_engine_that_is_not_supervised_says_so(void **state)
{
	const struct engine_options options = {.workers = 1};
	struct engine *engine;

	(void)state;
	assert_int_equal(engine_new(&options, &engine), 0);
	assert_int_equal(engine_supervisor_fd(engine), -1);
	engine_delete(engine);
}

static unsigned count_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* The state of workers is read from files that are opened once: a client of this /proc can make
 * closing them slow. There is a place for those of spare workers, too. */
static void looks_at_a_stuck_worker_open_no_file(void **state)
{
	struct fixture f;

	(void)state;
	if (!start(&f, 1))
		skip();
	const unsigned fds = count_fds();

	set(&f.slow, 0, 0, f.page);
	await_stuck(&f, &f.slow.ring[0]);
	set(&f.quick, 0, 0, f.page);
	/* all workers there will be have opened theirs */
	assert_true(supervise_until_done(&f, &f.quick.ring[0], HANG_MS));
	while (engine_awake(f.engine) > 0)
		poll(NULL, 0, 1);
	assert_int_equal(count_fds(), fds);

	struct rlimit limit, none;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	/* still seen to wait, it is not taken for one that hangs */
	unsigned healthy = 0;

	for (unsigned i = 0; i < 10; i++) {
		engine_supervise(f.engine);
		healthy += engine_healthy(f.engine);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(healthy, 10);
	let_pages_come(&f);
	assert_true(supervise_until_done(&f, &f.slow.ring[0], HANG_MS));
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(others_are_served_while_a_worker_waits_for_a_page),
		cmocka_unit_test(one_account_gets_no_second_worker_stuck),
		cmocka_unit_test(a_piece_may_be_stuck_as_well),
		cmocka_unit_test(waiting_for_a_page_is_healthy),
		cmocka_unit_test(looks_at_a_stuck_worker_open_no_file),
		cmocka_unit_test(workers_come_and_go),
		cmocka_unit_test(what_no_worker_is_at_comes_and_goes),
		cmocka_unit_test(a_removal_that_waits_is_nothing_to_others),
		cmocka_unit_test(an_engine_that_is_not_supervised_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
