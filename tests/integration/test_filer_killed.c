/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The filer is killed every few milliseconds while clients write, copy and read files by it: twenty
 * times; with --daemon it is the daemon, which takes its filer along. They cannot tell: every
 * operation completes once, without an error, and every byte is right, whatever way a client waits.
 * As soon as an operation is complete, its client writes to all that it used, and finds later that
 * nothing else has. Each time there is another filer, which has operations again.
 */
#include <errno.h>
#include <signal.h>
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
#include "filer_process.h"
#include "ring_use.h"
#include "scale.h"

#define DEPTH 16
#define SLOT  ((size_t)64 << 10)
#define MARK  ((char)0xee) /* what the client writes when an operation is complete */
#define KILLS 20

/* How a client gets its next completion. */
enum way { SLEEP, PEEK, EPOLL, WAYS };

/* All of it is relaxed: pacing and figures, on which no memory depends. */
struct meeting {
	_Atomic unsigned completed[WAYS]; /* operations */
	_Atomic uint64_t by_filer[WAYS];
	_Atomic bool over;
	_Atomic uint64_t again;
	bool whole; /* the daemon is killed */
};

/* A write of the source to the file; or a chain of that, a copy to the other file, and a read. */
struct slot {
	char *source, *found;     /* memory */
	char *in_file, *in_other; /* addresses in regions of files */
	off_t position;           /* in both files */
	size_t length;
	uint64_t seed;
	bool busy, used, chain;
};

struct user {
	struct meeting *meeting;
	enum way way;
	struct vdm_client *client;
	struct vdm_ring *ring;
	int epoll, file, other;
	struct slot slots[DEPTH];
	uint64_t seed;
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

static void expect(const char *memory, const char *expected, size_t length, const char *what)
{
	CHECK(memcmp(memory, expected, length) == 0, "%s", what);
}

static void expect_in_file(int file, off_t position, const char *expected, size_t length,
			   const char *what)
{
	static char found[SLOT];

	CHECK(pread(file, found, length, position) == (ssize_t)length, "%s: %s", what,
	      strerror(errno));
	expect(found, expected, length, what);
}

static void check_marks(const struct user *user, const struct slot *slot, const char *marks)
{
	expect(slot->source, marks, SLOT, "a source was written after its operation");
	expect(slot->found, marks, SLOT, "a destination was written after its operation");
	expect_in_file(user->file, slot->position, marks, SLOT, "a file, after its operation");
	expect_in_file(user->other, slot->position, marks, SLOT, "the other, after its operation");
}

static void begin(struct user *user, struct slot *slot, const char *marks)
{
	if (slot->used)
		check_marks(user, slot, marks);
	slot->length = 1 + draw(user) % (draw(user) % 4 ? 4096 : SLOT);
	slot->seed = draw(user);
	slot->chain = draw(user) % 3 == 0;
	fill(slot->source, slot->length, slot->seed);
	slot->busy = slot->used = true;
}

/* Check what is complete, and use its memory and its place in the files for something else. */
static void end(struct user *user, struct slot *slot, const char *marks)
{
	static char expected[SLOT];

	CHECK(slot->busy, "an operation completed twice");
	slot->busy = false;
	fill(expected, slot->length, slot->seed);
	expect_in_file(user->file, slot->position, expected, slot->length, "wrong bytes");
	if (slot->chain) {
		expect_in_file(user->other, slot->position, expected, slot->length, "of a copy");
		expect(slot->found, expected, slot->length, "wrong bytes were read");
	}
	memset(slot->source, MARK, SLOT);
	memset(slot->found, MARK, SLOT);
	CHECK(pwrite(user->file, marks, SLOT, slot->position) == (ssize_t)SLOT &&
		      pwrite(user->other, marks, SLOT, slot->position) == (ssize_t)SLOT,
	      "%s", strerror(errno));
	atomic_fetch_add_explicit(&user->meeting->completed[user->way], 1, memory_order_relaxed);
}

static void next_completion(const struct user *user, struct vdm_cqe **cqe)
{
	struct epoll_event event;

	if (user->way == SLEEP) {
		CHECK(vdm_ring_wait_cqe(user->ring, cqe) == 0, "a wait");
		return;
	}
	while (vdm_ring_peek_cqe(user->ring, cqe) == -EAGAIN)
		if (user->way == EPOLL)
			CHECK(epoll_wait(user->epoll, &event, 1, -1) == 1, "epoll_wait");
}

static struct vdm_sqe *next_entry(const struct user *user, unsigned data)
{
	struct vdm_sqe *sqe = entry(user->ring);

	sqe->user_data = data;
	return sqe;
}

static void prepare(struct user *user, unsigned i)
{
	static const unsigned flags[] = {0, 0, VDM_SQE_FENCE, VDM_SQE_DURABLE};
	const struct slot *slot = &user->slots[i];

	if (!slot->chain) {
		vdm_prep_memcpy(next_entry(user, i), slot->in_file, slot->source, slot->length,
				flags[draw(user) % 4]);
		return;
	}
	vdm_prep_memcpy(next_entry(user, DEPTH), slot->in_file, slot->source, slot->length,
			VDM_SQE_LINK);
	vdm_prep_memcpy(next_entry(user, DEPTH), slot->in_other, slot->in_file, slot->length,
			VDM_SQE_LINK);
	vdm_prep_memcpy(next_entry(user, i), slot->found, slot->in_other, slot->length, 0);
}

static void submit(struct user *user, const char *marks)
{
	for (unsigned i = 0; i < DEPTH; i++) {
		struct slot *slot = &user->slots[i];

		if (slot->busy || vdm_ring_space_left(user->ring) < 3)
			continue;
		begin(user, slot, marks);
		prepare(user, i);
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

static void work(struct user *user, const char *marks)
{
	for (;;) {
		const bool over = atomic_load_explicit(&user->meeting->over, memory_order_relaxed);
		struct vdm_cqe *cqe;

		if (!over)
			submit(user, marks);
		if (busy_slots(user) == 0)
			return;
		next_completion(user, &cqe);
		CHECK(cqe->result == 0, "result %d", cqe->result);
		if (cqe->user_data < DEPTH)
			end(user, &user->slots[cqe->user_data], marks);
		vdm_ring_cqe_seen(user->ring, cqe);
		atomic_store_explicit(&user->meeting->by_filer[user->way],
				      counters_of(user->client).file_offloaded,
				      memory_order_relaxed);
	}
}

static int file_made(void)
{
	char path[] = "filer-killed-XXXXXX";
	int fd = mkstemp(path);

	CHECK(fd >= 0 && unlink(path) == 0 && ftruncate(fd, DEPTH * SLOT) == 0, "%s",
	      strerror(errno));
	return fd;
}

static char *file_region(struct vdm_client *client, int fd, struct vdm_region **region)
{
	CHECK(vdm_region_open_file(client, fd, 0, DEPTH * SLOT, 0, region) == 0,
	      "a region of a file");
	return vdm_region_address(*region);
}

static void open_ring(struct user *user)
{
	const struct vdm_options options = {.size = sizeof options,
					    .entries = 2 * DEPTH,
					    .spin_us = VDM_NO_SPIN,
					    .first_sequence = UINT32_MAX - 1000};
	struct epoll_event event = {.events = EPOLLIN};

	CHECK(vdm_ring_open(user->client, &options, &user->ring) == 0, "opening a ring");
	user->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (user->way == EPOLL)
		CHECK(epoll_ctl(user->epoll, EPOLL_CTL_ADD, vdm_ring_eventfd(user->ring), &event) ==
			      0,
		      "%s", strerror(errno));
}

static void use(unsigned index, void *meeting)
{
	static char marks[SLOT];
	static struct user user;
	enum { SOURCE, FOUND, FILE_HERE, FILE_OTHER, REGIONS };
	struct vdm_region *regions[REGIONS];

	memset(marks, MARK, SLOT);
	user = (struct user){.meeting = meeting, .way = index, .seed = index + 1};
	user.client = client_opened();
	user.file = file_made();
	user.other = file_made();

	char *sources = region_opened(user.client, DEPTH * SLOT, &regions[SOURCE]);
	char *in_file = file_region(user.client, user.file, &regions[FILE_HERE]);
	char *found = region_opened(user.client, DEPTH * SLOT, &regions[FOUND]);
	char *in_other = file_region(user.client, user.other, &regions[FILE_OTHER]);

	for (unsigned i = 0; i < DEPTH; i++)
		user.slots[i] = (struct slot){.source = sources + i * SLOT,
					      .found = found + i * SLOT,
					      .in_file = in_file + i * SLOT,
					      .in_other = in_other + i * SLOT,
					      .position = (off_t)(i * SLOT)};
	open_ring(&user);
	work(&user, marks);

	const struct vdm_client_counters counters = counters_of(user.client);

	CHECK(counters.failed == 0, "%u operations failed", (unsigned)counters.failed);
	CHECK(counters.reconnects == 0 || user.meeting->whole, "the daemon has not gone");
	atomic_fetch_add_explicit(&user.meeting->again, counters.repeated + counters.recovered_here,
				  memory_order_relaxed);
	vdm_ring_close(user.ring);
	for (unsigned i = 0; i < REGIONS; i++)
		vdm_region_release(regions[i]);
	vdm_client_close(user.client);
}

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* Every client has completed something since, and a filer has done something for each. */
static void await_progress(struct meeting *meeting)
{
	unsigned before[WAYS];
	uint64_t by_filer[WAYS];

	/* relaxed throughout; partner: work() */
	for (unsigned i = 0; i < WAYS; i++) {
		before[i] = atomic_load_explicit(&meeting->completed[i], memory_order_relaxed);
		by_filer[i] = atomic_load_explicit(&meeting->by_filer[i], memory_order_relaxed);
	}
	for (unsigned i = 0; i < WAYS; i++)
		while (atomic_load_explicit(&meeting->completed[i], memory_order_relaxed) ==
			       before[i] ||
		       atomic_load_explicit(&meeting->by_filer[i], memory_order_relaxed) ==
			       by_filer[i])
			pause_ms(1);
}

static pid_t kill_one(struct daemon_process *daemon, bool whole, pid_t before)
{
	const pid_t filer = filer_awaited(daemon->pid, before);

	pause_ms((unsigned)rand() % 20);
	if (!whole) {
		kill(filer, SIGKILL);
		return filer;
	}
	daemon_kill(daemon);
	daemon_start(daemon, 2);
	return 0;
}

int main(int argc, char **argv)
{
	struct daemon_process daemon;
	struct meeting *meeting = shared_between_processes(sizeof *meeting);
	pid_t clients[WAYS], filer = 0;

	meeting->whole = argc > 1 && strcmp(argv[1], "--daemon") == 0;
	guard_against_hanging((unsigned)(100 + scaled(100)));
	daemon_prepare(&daemon);
	daemon_listen(&daemon);
	daemon_start(&daemon, 2);
	for (unsigned i = 0; i < WAYS; i++)
		clients[i] = client_process(use, i, meeting);
	for (unsigned i = 0; i < (scaled(KILLS) > 2 ? scaled(KILLS) : 2); i++) {
		await_progress(meeting);
		filer = kill_one(&daemon, meeting->whole, filer);
	}
	filer_awaited(daemon.pid, filer);
	await_progress(meeting);
	atomic_store_explicit(&meeting->over, true, memory_order_relaxed);
	for (unsigned i = 0; i < WAYS; i++)
		client_joined(clients[i]);
	printf("%llu operations done again\n", (unsigned long long)meeting->again);
	CHECK(meeting->again > 0, "no client has noticed anything");
	CHECK(daemon_stop(&daemon) == 0, "the daemon's exit status");
	daemon_remove(&daemon);
	return 0;
}
