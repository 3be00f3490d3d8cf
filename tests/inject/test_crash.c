/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process of the daemon ends at its n-th call, for every n of a client's life: the daemon itself,
 * its spawner or its porter; and the next daemon too, to which the client has come back. Another
 * daemon is started each time. The client cannot tell: every operation completes once, without an
 * error, and every byte is right, with a ring, a future, and a second thread that allocates and
 * releases regions meanwhile.
 *
 * test_crash LIBRARY [SIDE [N]]: LIBRARY is what the daemon is started with. Every tenth n;
 * VDM_TEST_SCALE=1000 makes that every one.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "client_processes.h"
#include "daemon_process.h"
#include "inject.h"
#include "ring_use.h"
#include "scale.h"

#define ENTRIES    16
#define SIZE       ((size_t)192 << 10)
#define BLOCKS     8
#define ROUNDS     4
#define MARK       ((char)0xee) /* what the client writes when an operation is complete */
#define HANG_S     100
#define MOST_CALLS 5000 /* of one process in a client's life; no life has so many */

static const char *const side_names[] = {
	[INJECT_MAIN] = "daemon", [INJECT_SPAWNER] = "spawner", [INJECT_PORTER] = "porter"};

struct user {
	struct vdm_client *client;
	struct vdm_ring *ring;
	char *block[BLOCKS];
	int epoll;
	unsigned round;
};

static void fill(char *memory, unsigned seed)
{
	for (size_t i = 0; i < SIZE; i++)
		memory[i] = (char)(seed * 7 + i * 31 + (i >> 8));
}

static void check_filled(const char *memory, unsigned seed, const char *what)
{
	static _Thread_local char expected[SIZE];

	fill(expected, seed);
	CHECK(memcmp(memory, expected, SIZE) == 0, "%s: wrong bytes", what);
}

static void check_all(const char *memory, char value, const char *what)
{
	CHECK(memory[0] == value && memcmp(memory, memory + 1, SIZE - 1) == 0, "%s: wrong bytes",
	      what);
}

/* The ring's operations of one round, by user_data. */
enum { PLAIN, FIRST, SECOND, THIRD, FENCED, SET, MOVED, OPERATIONS };

static struct vdm_sqe *next(const struct user *user, uint64_t user_data)
{
	struct vdm_sqe *sqe = entry(user->ring);

	sqe->user_data = user_data;
	return sqe;
}

/* Some of the operations write what an earlier one has read. */
static void submit(const struct user *user)
{
	char *const *b = user->block;

	vdm_prep_memcpy(next(user, PLAIN), b[1], b[0], SIZE, 0);
	vdm_prep_memcpy(next(user, FIRST), b[3], b[2], SIZE, VDM_SQE_LINK);
	vdm_prep_memset(next(user, SECOND), b[2], 's', SIZE, VDM_SQE_LINK);
	vdm_prep_memcpy(next(user, THIRD), b[4], b[2], SIZE, 0);
	vdm_prep_memcpy(next(user, FENCED), b[0], b[3], SIZE, VDM_SQE_FENCE);
	vdm_prep_memset(next(user, SET), b[5], 't', SIZE, 0);
	vdm_prep_memmove(next(user, MOVED), b[6] + 1, b[6], SIZE - 1, 0);
	CHECK(vdm_ring_submit(user->ring) == OPERATIONS, "submitting");
}

static struct vdm_cqe *next_completion(const struct user *user)
{
	const struct timespec hour = {.tv_sec = 3600};
	struct epoll_event event;
	struct vdm_cqe *cqe = NULL;

	switch (user->round % 4) {
	case 0:
		CHECK(vdm_ring_wait_cqe(user->ring, &cqe) == 0, "a wait");
		break;
	case 1:
		CHECK(vdm_ring_wait_cqes(user->ring, &cqe, 1, &hour) == 0, "a timed wait");
		break;
	case 2:
		while (vdm_ring_peek_cqe(user->ring, &cqe) == -EAGAIN)
			;
		break;
	default:
		while (vdm_ring_peek_cqe(user->ring, &cqe) == -EAGAIN)
			CHECK(epoll_wait(user->epoll, &event, 1, -1) == 1 || errno == EINTR, "%s",
			      strerror(errno));
	}
	return cqe;
}

static void collect(const struct user *user)
{
	bool seen[OPERATIONS] = {false};

	for (unsigned i = 0; i < OPERATIONS; i++) {
		struct vdm_cqe *cqe = next_completion(user);

		CHECK(cqe->result == 0, "operation %u: %s", (unsigned)cqe->user_data,
		      strerror(-cqe->result));
		CHECK(cqe->user_data < OPERATIONS && !seen[cqe->user_data],
		      "an operation completed twice");
		CHECK(cqe->operation == user->round * OPERATIONS + (uint32_t)cqe->user_data,
		      "number %u", cqe->operation);
		seen[cqe->user_data] = true;
		vdm_ring_cqe_seen(user->ring, cqe);
	}
}

static void copy_by_ring(const struct user *user)
{
	char *const *b = user->block;
	const unsigned seed = user->round;

	fill(b[0], seed);
	fill(b[2], seed + 1);
	fill(b[6], seed + 2);
	submit(user);
	collect(user);
	check_filled(b[0], seed + 1, "behind a fence");
	check_filled(b[1], seed, "a copy");
	check_all(b[2], 's', "the second of a chain");
	check_filled(b[3], seed + 1, "the first of a chain");
	check_all(b[4], 's', "the third of a chain");
	check_all(b[5], 't', "set");
	CHECK(b[6][0] == b[6][1], "moved");
	for (unsigned i = 0; i < BLOCKS - 1; i++)
		memset(b[i], MARK, SIZE);
}

/* A region that lives for one copy. */
static void *use_regions(void *of)
{
	struct vdm_client *client = of;
	struct vdm_ring *ring = NULL;

	CHECK(vdm_ring_open(client, NULL, &ring) == 0, "opening a ring");
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct vdm_region *region;
		char *memory = region_opened(client, 2 * SIZE, &region);
		struct vdm_sqe *sqe = entry(ring);

		fill(memory, i);
		vdm_prep_memcpy(sqe, memory + SIZE, memory, SIZE, 0);
		CHECK(run_one(ring) == 0, "a copy in a region of its own");
		check_filled(memory + SIZE, i, "a region of its own");
		CHECK(vdm_region_release(region) == 0, "releasing a region");
	}
	vdm_ring_close(ring);
	return NULL;
}

static void live(unsigned recovery_timeout_ms, void *unused)
{
	const struct vdm_options options = {.size = sizeof options,
					    .entries = ENTRIES,
					    .offload_threshold = 1,
					    .spin_us = VDM_NO_SPIN,
					    .recovery_timeout_ms = recovery_timeout_ms};
	struct epoll_event event = {.events = EPOLLIN};
	struct user user = {.epoll = epoll_create1(EPOLL_CLOEXEC)};
	struct runtime *runtime = runtime_new();
	struct vdm_region *region;
	pthread_t thread;

	(void)unused;
	alarm(HANG_S);

	struct data_mover_daemon *mover = data_mover_daemon_new(&options);

	CHECK(mover && runtime, "a mover");
	user.client = data_mover_daemon_get_client(mover);

	char *memory = region_opened(user.client, (BLOCKS + 2) * SIZE, &region);

	for (unsigned i = 0; i < BLOCKS; i++)
		user.block[i] = memory + i * SIZE;
	memset(memory, MARK, BLOCKS * SIZE);
	CHECK(vdm_ring_open(user.client, NULL, &user.ring) == 0, "opening a ring");
	CHECK(epoll_ctl(user.epoll, EPOLL_CTL_ADD, vdm_ring_eventfd(user.ring), &event) == 0, "%s",
	      strerror(errno));
	CHECK(pthread_create(&thread, NULL, use_regions, user.client) == 0, "a thread");
	for (; user.round < ROUNDS; user.round++) {
		char *from = memory + BLOCKS * SIZE, *to = from + SIZE;

		fill(from, user.round);

		struct vdm_operation_future future =
			vdm_memcpy(data_mover_daemon_get_vdm(mover), to, from, SIZE, 0);

		future_poll(FUTURE_AS_RUNNABLE(&future), NULL);
		copy_by_ring(&user);
		runtime_wait(runtime, FUTURE_AS_RUNNABLE(&future));
		CHECK(FUTURE_OUTPUT(&future)->result == VDM_SUCCESS, "a future");
		check_filled(to, user.round, "a future");
		memset(from, MARK, 2 * SIZE);
	}
	pthread_join(thread, NULL);
	check_all(memory, MARK, "used for something else");
	CHECK(counters_of(user.client).failed == 0, "operations have failed");
	vdm_ring_close(user.ring);
	vdm_region_release(region);
	data_mover_daemon_delete(mover);
	runtime_delete(runtime);
	close(user.epoll);
}

static struct inject_controls *controls;
static struct daemon_process daemon_of_test;
static const char *library;

static void arm(enum inject_process side, uint32_t call)
{
	struct inject_control *control = &controls->of[side];

	control->armed = 0;
	control->function = INJECT_DEATH;
	/* a daemon is to be ready before */
	control->then = side == INJECT_MAIN ? INJECT_ACCEPT : INJECT_NOTHING;
	control->first = call;
	control->count = 0;
	control->hits = 0;
	control->armed = 1;
}

static void start_daemon(void)
{
	setenv("LD_PRELOAD", library, 1);
	daemon_start(&daemon_of_test, 2);
	unsetenv("LD_PRELOAD");
}

/* What a whole life came to. */
struct life {
	unsigned calls; /* of that process, in the first daemon */
	bool died;      /* the last process that was to end has */
};

/*
 * One life of a client. The process ends at that call; and if `again` is not 0, that of the next
 * daemon at its `again`-th.
 */
static struct life live_through(enum inject_process side, uint32_t call, uint32_t again)
{
	int status;
	pid_t ended;

	arm(side, call);
	start_daemon();

	/* with patience, or with hardly any */
	const pid_t client = client_process(live, call % 2 ? 0 : 1, NULL);

	while ((ended = waitpid(-1, &status, 0)) != client) {
		CHECK(ended == daemon_of_test.pid, "%s", strerror(errno));
		if (again)
			arm(side, again);
		again = 0;
		start_daemon();
	}

	const struct life life = {.calls = controls->of[side].count,
				  .died = controls->of[side].hits > 0};

	controls->of[side].armed = 0;
	CHECK(status == 0, "%s: call %u, then %u: the client %s (status 0x%x)", side_names[side],
	      call, again, WIFSIGNALED(status) ? "hangs" : "failed", (unsigned)status);
	daemon_kill(&daemon_of_test);
	return life;
}

/* Every n or, by the scale, every tenth or so. */
static unsigned stride(void)
{
	const unsigned long every = 1000 / scaled(100);

	return every > 0 ? (unsigned)every : 1;
}

/* Lives have different numbers of calls: so many in which nothing has ended are the last ones. */
#define WITHOUT_DEATH 5

static void try_side(enum inject_process side)
{
	unsigned lives = 0, without = 0;

	for (uint32_t call = 1; call < MOST_CALLS && without < WITHOUT_DEATH; call += stride()) {
		const bool died = live_through(side, call, 0).died;

		without = died ? 0 : without + 1;
		lives += died;
	}
	printf("%s: ended at %u calls\n", side_names[side], lives);
	fflush(stdout);
	CHECK(lives > 0, "no process has ended");
}

/* The next daemon ends while the client comes back to it. */
static void try_twice(void)
{
	const unsigned calls = live_through(INJECT_MAIN, UINT32_MAX, 0).calls;
	unsigned lives = 0, without = 0;

	for (uint32_t call = 1; call < MOST_CALLS && without < WITHOUT_DEATH; call += stride()) {
		const bool died = live_through(INJECT_MAIN, calls / 4 + call % 16, call).died;

		without = died ? 0 : without + 1;
		lives += died;
	}
	printf("daemon, twice: ended at %u calls\n", lives);
	CHECK(lives > 0, "no daemon has ended twice");
}

/* Where the daemon finds its orders. */
static void make_controls(void)
{
	char path[sizeof daemon_of_test.directory + 16];

	snprintf(path, sizeof path, "%s/inject", daemon_of_test.directory);

	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && ftruncate(fd, sizeof *controls) == 0, "%s: %s", path, strerror(errno));
	controls = mmap(NULL, sizeof *controls, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(controls != MAP_FAILED, "%s", strerror(errno));
	close(fd);
	setenv("VDM_INJECT_CONTROL", path, 1);
}

int main(int argc, char **argv)
{
	const int only = argc > 2 ? atoi(argv[2]) : -1;

	CHECK(argc > 1, "test_crash LIBRARY [SIDE [N]]");
	library = argv[1];
	guard_against_hanging(300);
	daemon_prepare(&daemon_of_test);
	daemon_listen(&daemon_of_test);
	make_controls();
	for (int side = INJECT_MAIN; side < INJECT_PROCESSES; side++)
		if (argc > 3 && only == side)
			live_through((enum inject_process)side, (uint32_t)atoi(argv[3]), 0);
		else if (only < 0 || only == side)
			try_side((enum inject_process)side);
	if (only < 0 || only == INJECT_PROCESSES)
		try_twice();
	unlink(getenv("VDM_INJECT_CONTROL"));
	daemon_remove(&daemon_of_test);
	return 0;
}
