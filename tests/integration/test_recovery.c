/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon is killed every few milliseconds while clients copy: thirty times; VDM_TEST_SCALE=3400
 * makes that about a thousand. They cannot tell, except by their counters: every operation
 * completes once, without an error, and every byte is right, however a client waits. As soon as an
 * operation is complete, its client writes to both of its ranges, and finds later that nothing else
 * has. A second thread of each client has a ring of its own, and allocates and releases regions
 * meanwhile.
 *
 * Connections wait at a listener while there is no daemon, as with systemd; with --own-socket each
 * daemon opens its own socket, and there is none meanwhile. With --seconds N the daemon is killed
 * every 100 to 500 ms for so long. With --other-version PROGRAM every second daemon is that one,
 * which refuses the clients. With --until FILE a few of the clients use the daemon at $VDM_SOCKET
 * until there is such a file, and another program restarts it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "client_processes.h"
#include "daemon_process.h"
#include "ring_use.h"
#include "scale.h"

#define DEPTH   32
#define SLOT    ((size_t)256 << 10)
#define MARK    ((char)0xee) /* what the client writes when an operation is complete */
#define KILLS   30
#define CHANGES 5 /* of the protocol's version, and back */

/* How a client gets its next completion. Half of the clients use futures. */
enum way { SLEEP, SPIN, PEEK, TIMED, EPOLL, FUTURES };

static const enum way ways[] = {SLEEP, SPIN, PEEK,    TIMED,   EPOLL,   FUTURES, FUTURES, SLEEP,
				SPIN,  PEEK, FUTURES, FUTURES, FUTURES, FUTURES, FUTURES, FUTURES};

#define CLIENTS (sizeof ways / sizeof *ways)
#define FEW     6 /* of each way one */

static unsigned clients = CLIENTS; /* of them, that take part */

/* All of it is relaxed: pacing and figures, on which no memory depends. */
struct meeting {
	_Atomic unsigned completed[CLIENTS];                    /* operations */
	_Atomic uint64_t refused[CLIENTS], reconnects[CLIENTS]; /* so far */
	_Atomic bool over;
	_Atomic uint64_t repeated, here;
	_Atomic uint64_t longest_pause_ns; /* between two completions of a client */
};

struct slot {
	char *source, *dest;
	size_t length;
	uint64_t seed;
	bool busy, used;
};

struct user {
	struct meeting *meeting;
	unsigned index;
	enum way way;
	struct vdm_client *client;
	struct vdm_ring *ring;
	int epoll;
	struct slot slots[DEPTH];
	uint64_t seed;
	uint64_t last_ns; /* CLOCK_MONOTONIC: when the last operation completed */
};

static uint64_t draw(struct user *user)
{
	user->seed = user->seed * 6364136223846793005 + 1442695040888963407;
	return user->seed >> 33;
}

static void fill(char *memory, size_t length, uint64_t seed)
{
	for (size_t i = 0; i < length; i++)
		memory[i] = (char)(seed + i * 31 + (i >> 8));
}

static void check_marks(const struct slot *slot)
{
	CHECK(slot->source[0] == MARK && memcmp(slot->source, slot->source + 1, SLOT - 1) == 0,
	      "a source was written after its operation");
	CHECK(slot->dest[0] == MARK && memcmp(slot->dest, slot->dest + 1, SLOT - 1) == 0,
	      "a destination was written after its operation");
}

/* Fill the source of the next operation on a slot. */
static void begin(struct user *user, struct slot *slot)
{
	if (slot->used)
		check_marks(slot);
	slot->length = 1 + draw(user) % (draw(user) % 4 ? 4096 : SLOT);
	slot->seed = draw(user);
	fill(slot->source, slot->length, slot->seed);
	slot->busy = slot->used = true;
}

static void measure_pause(struct user *user)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);

	const uint64_t now = (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
	const uint64_t pause = user->last_ns ? now - user->last_ns : 0;
	uint64_t longest = user->meeting->longest_pause_ns;

	user->last_ns = now;
	while (pause > longest &&
	       !atomic_compare_exchange_weak_explicit(&user->meeting->longest_pause_ns, &longest,
						      pause, memory_order_relaxed,
						      memory_order_relaxed))
		;
}

/* Check an operation that is complete, and use its memory for something else at once. */
static void end(struct user *user, struct slot *slot)
{
	static char expected[SLOT];

	CHECK(slot->busy, "an operation completed twice");
	measure_pause(user);
	slot->busy = false;
	fill(expected, slot->length, slot->seed);
	CHECK(memcmp(slot->dest, expected, slot->length) == 0, "wrong bytes");
	memset(slot->source, MARK, SLOT);
	memset(slot->dest, MARK, SLOT);
	atomic_fetch_add_explicit(&user->meeting->completed[user->index], 1, memory_order_relaxed);
}

static void next_completion(const struct user *user, struct vdm_cqe **cqe)
{
	const struct timespec hour = {.tv_sec = 3600};
	struct epoll_event event;

	switch (user->way) {
	case PEEK:
		while (vdm_ring_peek_cqe(user->ring, cqe) == -EAGAIN)
			;
		break;
	case TIMED:
		CHECK(vdm_ring_wait_cqes(user->ring, cqe, 1, &hour) == 0, "a timed wait");
		break;
	case EPOLL:
		while (vdm_ring_peek_cqe(user->ring, cqe) == -EAGAIN)
			CHECK(epoll_wait(user->epoll, &event, 1, -1) == 1, "epoll_wait");
		break;
	default:
		CHECK(vdm_ring_wait_cqe(user->ring, cqe) == 0, "a wait");
	}
}

/* Entries of the longest chain. */
#define CHAIN 3

static struct vdm_sqe *linked(const struct user *user)
{
	struct vdm_sqe *sqe = entry(user->ring);

	sqe->user_data = DEPTH;
	return sqe;
}

/* Clear the destination, move the source by a byte, which overlaps, and copy it from there. */
static void prepare_chain(const struct user *user, unsigned i)
{
	const struct slot *slot = &user->slots[i];
	struct vdm_sqe *sqe;

	vdm_prep_memset(linked(user), slot->dest, 1, slot->length, VDM_SQE_LINK);
	vdm_prep_memmove(linked(user), slot->source + 1, slot->source, slot->length, VDM_SQE_LINK);
	sqe = entry(user->ring);
	vdm_prep_memcpy(sqe, slot->dest, slot->source + 1, slot->length, 0);
	sqe->user_data = i;
}

/* Submit as much as there is room for: plain copies, fenced ones, and chains. */
static void submit(struct user *user)
{
	for (unsigned i = 0; i < DEPTH; i++) {
		struct slot *slot = &user->slots[i];

		if (slot->busy || vdm_ring_space_left(user->ring) < CHAIN)
			continue;
		begin(user, slot);
		if (slot->length < SLOT && draw(user) % 4 == 0) {
			prepare_chain(user, i);
			continue;
		}
		struct vdm_sqe *sqe = entry(user->ring);

		vdm_prep_memcpy(sqe, slot->dest, slot->source, slot->length,
				draw(user) % 8 ? 0 : VDM_SQE_FENCE);
		sqe->user_data = i;
	}
	CHECK(vdm_ring_submit(user->ring) >= 0, "submitting");
}

static unsigned busy_slots(const struct user *user)
{
	unsigned count = 0;

	for (unsigned i = 0; i < DEPTH; i++)
		count += user->slots[i].busy;
	return count;
}

static void copy_by_ring(struct user *user)
{
	struct vdm_cqe *cqe;

	while (!atomic_load_explicit(&user->meeting->over, memory_order_relaxed) ||
	       busy_slots(user) > 0) {
		if (!atomic_load_explicit(&user->meeting->over, memory_order_relaxed))
			submit(user);
		next_completion(user, &cqe);
		CHECK(cqe->result == 0, "result %d", cqe->result);
		if (cqe->user_data < DEPTH)
			end(user, &user->slots[cqe->user_data]);
		vdm_ring_cqe_seen(user->ring, cqe);
	}
}

static void copy_by_futures(struct user *user, struct vdm *vdm)
{
	struct runtime *runtime = runtime_new();

	while (!atomic_load_explicit(&user->meeting->over, memory_order_relaxed)) {
		struct vdm_operation_future futures[DEPTH];
		struct future *runnable[DEPTH];

		for (unsigned i = 0; i < DEPTH; i++) {
			struct slot *slot = &user->slots[i];

			begin(user, slot);
			futures[i] = vdm_memcpy(vdm, slot->dest, slot->source, slot->length, 0);
			runnable[i] = FUTURE_AS_RUNNABLE(&futures[i]);
		}
		runtime_wait_multiple(runtime, runnable, DEPTH);
		for (unsigned i = 0; i < DEPTH; i++) {
			CHECK(FUTURE_OUTPUT(&futures[i])->result == VDM_SUCCESS, "a future");
			end(user, &user->slots[i]);
		}
	}
	runtime_delete(runtime);
}

static void publish_counters(const struct user *user)
{
	const struct vdm_client_counters counters = counters_of(user->client);

	atomic_store_explicit(&user->meeting->refused[user->way], counters.refused,
			      memory_order_relaxed);
	atomic_store_explicit(&user->meeting->reconnects[user->way], counters.reconnects,
			      memory_order_relaxed);
}

/* A region that lives for one copy, again and again. */
static void *use_regions(void *of)
{
	struct user *user = of;
	struct vdm_ring *ring = ring_opened(user->client, 8, 0);

	for (uint64_t n = 1; !atomic_load_explicit(&user->meeting->over, memory_order_relaxed);
	     n++) {
		struct vdm_region *region;
		char *memory = region_opened(user->client, 2 * SLOT, &region);

		fill(memory, SLOT, n);
		vdm_prep_memcpy(entry(ring), memory + SLOT, memory, SLOT, 0);
		CHECK(run_one(ring) == 0, "a copy in a region of its own");
		CHECK(memcmp(memory, memory + SLOT, SLOT) == 0, "wrong bytes");
		CHECK(vdm_region_release(region) == 0, "releasing a region");
		publish_counters(user);
	}
	vdm_ring_close(ring);
	return NULL;
}

static void open_ring(struct user *user)
{
	const struct vdm_options options = {.size = sizeof options,
					    .entries = DEPTH,
					    .first_sequence = UINT32_MAX - 1000,
					    .spin_us =
						    user->way == SPIN ? 1000000000 : VDM_NO_SPIN};
	struct epoll_event event = {.events = EPOLLIN};

	CHECK(vdm_ring_open(user->client, &options, &user->ring) == 0, "opening a ring");
	user->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (user->way == EPOLL)
		CHECK(epoll_ctl(user->epoll, EPOLL_CTL_ADD, vdm_ring_eventfd(user->ring), &event) ==
			      0,
		      "%s", strerror(errno));
}

static void tell_counters(struct user *user)
{
	const struct vdm_client_counters counters = counters_of(user->client);

	CHECK(counters.failed == 0, "%u operations failed", (unsigned)counters.failed);
	publish_counters(user);
	atomic_fetch_add_explicit(&user->meeting->repeated, counters.repeated,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&user->meeting->here, counters.recovered_here,
				  memory_order_relaxed);
}

static void use(unsigned index, void *meeting)
{
	static struct user user;
	struct vdm_region *source, *dest;
	pthread_t thread;

	user = (struct user){
		.meeting = meeting, .index = index, .way = ways[index], .seed = index + 1};

	const struct vdm_options options = {.size = sizeof options, .offload_threshold = 1};
	struct data_mover_daemon *mover = data_mover_daemon_new(&options);

	CHECK(mover, "a mover: %s", vdm_last_error());
	user.client = data_mover_daemon_get_client(mover);

	/* a byte more, for what is moved by a byte */
	char *sources = region_opened(user.client, DEPTH * SLOT, &source);
	char *dests = region_opened(user.client, DEPTH * SLOT, &dest);

	for (unsigned i = 0; i < DEPTH; i++) {
		user.slots[i].source = sources + i * SLOT;
		user.slots[i].dest = dests + i * SLOT;
	}
	CHECK(pthread_create(&thread, NULL, use_regions, &user) == 0, "a thread");
	if (user.way == FUTURES) {
		copy_by_futures(&user, data_mover_daemon_get_vdm(mover));
	} else {
		open_ring(&user);
		copy_by_ring(&user);
		vdm_ring_close(user.ring);
		close(user.epoll);
	}
	pthread_join(thread, NULL);
	tell_counters(&user);
	vdm_region_release(source);
	vdm_region_release(dest);
	data_mover_daemon_delete(mover);
}

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* Every client has completed something since. */
static void await_progress(struct meeting *meeting)
{
	unsigned before[CLIENTS];

	for (unsigned i = 0; i < clients; i++)
		before[i] = atomic_load_explicit(&meeting->completed[i], memory_order_relaxed);
	for (unsigned i = 0; i < clients; i++)
		while (atomic_load_explicit(&meeting->completed[i], memory_order_relaxed) ==
		       before[i])
			pause_ms(1);
}

/* The figure of every client is more than `least`. */
static void await_more(_Atomic uint64_t figures[CLIENTS], const uint64_t least[CLIENTS])
{
	for (unsigned i = 0; i < clients; i++)
		while (atomic_load_explicit(&figures[i], memory_order_relaxed) <= least[i])
			pause_ms(1);
}

static void note(const _Atomic uint64_t figures[CLIENTS], uint64_t noted[CLIENTS])
{
	for (unsigned i = 0; i < clients; i++)
		noted[i] = atomic_load_explicit(&figures[i], memory_order_relaxed);
}

static void start_clients(pid_t pids[CLIENTS], struct meeting *meeting)
{
	for (unsigned i = 0; i < clients; i++)
		pids[i] = client_process(use, i, meeting);
}

static void end_clients(const pid_t pids[CLIENTS], struct meeting *meeting)
{
	uint64_t reconnects = 0, refused = 0;

	await_progress(meeting);
	atomic_store_explicit(&meeting->over, true, memory_order_relaxed);
	for (unsigned i = 0; i < clients; i++) {
		client_joined(pids[i]);
		reconnects += meeting->reconnects[i];
		refused += meeting->refused[i];
	}
	printf("%llu times to another daemon, %llu refusals; %llu operations repeated there, %llu "
	       "here; the longest pause %llu ms\n",
	       (unsigned long long)reconnects, (unsigned long long)refused,
	       (unsigned long long)meeting->repeated, (unsigned long long)meeting->here,
	       (unsigned long long)meeting->longest_pause_ns / 1000000);
	CHECK(reconnects > 0 && meeting->repeated + meeting->here > 0,
	      "no client has noticed anything");
}

/* Another program restarts the daemon. */
static void attend(const char *until)
{
	struct meeting *meeting = shared_between_processes(sizeof *meeting);
	pid_t pids[CLIENTS];

	start_clients(pids, meeting);
	while (access(until, F_OK) < 0)
		pause_ms(10);
	end_clients(pids, meeting);
}

static void kill_daemons(bool own_socket, unsigned seconds)
{
	struct meeting *meeting = shared_between_processes(sizeof *meeting);
	struct daemon_process daemon;
	pid_t pids[CLIENTS];
	const time_t end = time(NULL) + seconds;
	unsigned kills = 0;

	daemon_prepare(&daemon);
	if (!own_socket)
		daemon_listen(&daemon);
	daemon_start(&daemon, 2);
	start_clients(pids, meeting);
	while (seconds ? time(NULL) < end : kills < scaled(KILLS) || kills < 2) {
		if (seconds)
			pause_ms(100 + (unsigned)rand() % 400);
		else
			await_progress(meeting);
		pause_ms((unsigned)rand() % 20);
		daemon_kill(&daemon);
		kills++;
		pause_ms((unsigned)rand() % 30);
		daemon_start(&daemon, 1 + (unsigned)rand() % 2);
	}
	printf("killed %u times: ", kills);
	end_clients(pids, meeting);
	CHECK(own_socket || meeting->repeated > 0, "no daemon has repeated anything");
	CHECK(daemon_stop(&daemon) == 0, "the daemon's exit status");
	daemon_remove(&daemon);
}

/* A daemon that the clients cannot talk to, after one that they can, and the other way about. */
static void change_versions(const char *other)
{
	struct meeting *meeting = shared_between_processes(sizeof *meeting);
	char *own = strdup(getenv("VDMD"));
	struct daemon_process daemon;
	pid_t pids[CLIENTS];
	uint64_t before[CLIENTS];

	daemon_prepare(&daemon);
	daemon_listen(&daemon);
	daemon_start(&daemon, 2);
	start_clients(pids, meeting);
	for (unsigned i = 0; i < (scaled(CHANGES) > 2 ? scaled(CHANGES) : 2); i++) {
		await_progress(meeting);
		note(meeting->refused, before);
		daemon_kill(&daemon);
		setenv("VDMD", other, 1);
		daemon_start(&daemon, 2);
		await_more(meeting->refused, before);
		await_progress(meeting);
		note(meeting->reconnects, before);
		daemon_kill(&daemon);
		setenv("VDMD", own, 1);
		daemon_start(&daemon, 2);
		await_more(meeting->reconnects, before);
	}
	end_clients(pids, meeting);
	CHECK(daemon_stop(&daemon) == 0, "the daemon's exit status");
	daemon_remove(&daemon);
	free(own);
}

int main(int argc, char **argv)
{
	const char *option = argc > 1 ? argv[1] : "", *value = argc > 2 ? argv[2] : NULL;
	const bool timed = value && strcmp(option, "--seconds") == 0;
	const unsigned seconds = timed ? (unsigned)strtoul(value, NULL, 10) : 0;

	guard_against_hanging((unsigned)(100 + scaled(100) + seconds));
	if (value && !timed)
		clients = FEW;
	if (value && strcmp(option, "--until") == 0)
		attend(value);
	else if (value && strcmp(option, "--other-version") == 0)
		change_versions(value);
	else
		kill_daemons(strcmp(option, "--own-socket") == 0, seconds);
	return 0;
}
