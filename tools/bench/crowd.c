/* SPDX-License-Identifier: BSD-3-Clause */
#include "crowd.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void unpin(void)
{
	cpu_set_t all;

	CPU_ZERO(&all);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		CPU_SET(cpu, &all);
	sched_setaffinity(0, sizeof all, &all);
}

/* Returns when it is to end. */
static uint64_t wait_to_go(struct crowd *crowd, const struct job *job)
{
	uint64_t began;

	atomic_fetch_add_explicit(&crowd->ready, 1, memory_order_release);
	while ((began = atomic_load_explicit(&crowd->began, memory_order_acquire)) == 0)
		sched_yield();
	return began + job->ns;
}

static void copy_inline(const struct job *job, char *memory, uint64_t end, struct result *result)
{
	size_t at = 0;

	for (;;) {
		memcpy(memory + job->set + at, memory + at, job->size);
		if (now_ns() >= end)
			break; /* operations that end later do not count, in any process */
		result->bytes += job->size;
		result->operations++;
		at = at + 2 * job->size <= job->set ? at + job->size : 0;
	}
}

static int wait_for_one(const struct job *job, struct vdm_ring *ring, struct vdm_cqe **cqe)
{
	struct pollfd event = {.events = POLLIN};
	int result;

	switch (job->wait) {
	case WAIT_PEEK:
		while ((result = vdm_ring_peek_cqe(ring, cqe)) == -EAGAIN)
			sched_yield();
		return result;
	case WAIT_POLL:
		event.fd = vdm_ring_eventfd(ring);
		while ((result = vdm_ring_peek_cqe(ring, cqe)) == -EAGAIN)
			poll(&event, 1, -1);
		return result;
	default:
		return vdm_ring_wait_cqe(ring, cqe);
	}
}

/* Up to `depth` in flight; the latency of one is from its submission to its completion being
 * seen. */
static int copy_offloaded(const struct job *job, struct vdm_ring *ring, char *memory, uint64_t end,
			  struct result *result)
{
	uint64_t now = now_ns(), submitted[BENCH_MAX_DEPTH];
	unsigned unused[BENCH_MAX_DEPTH], in_flight = 0;
	size_t at = 0;

	for (unsigned i = 0; i < job->depth; i++)
		unused[i] = i;
	for (;;) {
		struct vdm_cqe *cqe;

		for (; in_flight < job->depth && now < end; in_flight++) {
			struct vdm_sqe *sqe = vdm_ring_get_sqe(ring);
			unsigned slot = unused[in_flight];

			vdm_prep_memcpy(sqe, memory + job->set + at, memory + at, job->size, 0);
			sqe->user_data = slot;
			submitted[slot] = now_ns();
			vdm_ring_submit(ring);
			at = at + 2 * job->size <= job->set ? at + job->size : 0;
		}
		if (in_flight == 0)
			break;
		if (wait_for_one(job, ring, &cqe) || cqe->result)
			return -1;
		now = now_ns();
		unused[--in_flight] = (unsigned)cqe->user_data;
		if (now < end) {
			if (result->samples < BENCH_SAMPLES)
				result->latency[result->samples++] =
					now - submitted[cqe->user_data];
			result->bytes += job->size;
			result->operations++;
		}
		vdm_ring_cqe_seen(ring, cqe);
	}
	return 0;
}

/* Every byte that was copied, and every one that was not. */
static int verify(const struct job *job, const char *memory, const struct result *result)
{
	size_t copies = job->set / job->size,
	       done = result->operations < copies ? result->operations : copies;

	return memcmp(memory, memory + job->set, done * job->size) == 0 ? 0 : -1;
}

static uint32_t entries_for(unsigned depth)
{
	uint32_t entries = 2;

	while (entries < depth)
		entries *= 2;
	return entries;
}

static double cpu_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The first use of memory takes longer than others, in this process and in the daemon. */
static int touch_all(const struct job *job, struct vdm_ring *ring, char *memory)
{
	for (size_t at = 0; at + job->size <= job->set; at += job->size) {
		struct vdm_cqe *cqe;

		memcpy(memory + job->set + at, memory + at, job->size);
		vdm_prep_memcpy(vdm_ring_get_sqe(ring), memory + job->set + at, memory + at,
				job->size, 0);
		vdm_ring_submit(ring);
		while (vdm_ring_peek_cqe(ring, &cqe) == -EAGAIN)
			sched_yield(); /* a wait might take it back */
		if (cqe->result)
			return -1;
		vdm_ring_cqe_seen(ring, cqe);
	}
	return 0;
}

static int be_client(const struct job *job, struct crowd *crowd, struct result *result)
{
	const struct vdm_options options = {.size = sizeof options,
					    .socket = job->bench->socket,
					    .flags = VDM_OPTION_REQUIRE_DAEMON,
					    .entries = entries_for(job->depth),
					    .spin_us = job->wait == WAIT_SLEEP ? VDM_NO_SPIN : 0,
					    .offload_threshold = job->threshold};
	struct vdm_client *client;
	struct vdm_region *region;
	struct vdm_ring *ring;

	if (!job->pinned)
		unpin();
	if (vdm_client_open(&options, &client) || vdm_region_alloc(client, 2 * job->set, &region) ||
	    vdm_ring_open(client, NULL, &ring))
		return -1;

	char *memory = vdm_region_address(region);

	for (size_t i = 0; job->verify && i < job->set; i++)
		memory[i] = (char)(i * 7 + i / 251);
	if (touch_all(job, ring, memory) < 0)
		return -1;
	uint64_t end = wait_to_go(crowd, job);
	double began = cpu_s();

	if (job->way == INLINE)
		copy_inline(job, memory, end, result);
	else if (copy_offloaded(job, ring, memory, end, result) < 0)
		return -1;
	result->cpu_s = cpu_s() - began;

	struct vdm_client_counters counters = {.size = sizeof counters};

	if (vdm_client_counters(client, &counters))
		return -1;
	result->taken_back =
		counters.offloaded ? (double)counters.taken_back / (double)counters.offloaded : 0;
	if (job->verify && verify(job, memory, result) < 0)
		return -1;
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
	return 0;
}

void crowd_run(const struct job *job, struct crowd *crowd, unsigned n)
{
	pid_t pid[BENCH_MAX_PROCESSES], parent = getpid();
	int failed = 0;

	memset(crowd, 0, sizeof *crowd);
	for (unsigned i = 0; i < n; i++) {
		pid[i] = fork();
		if (pid[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			_exit(getppid() != parent || be_client(job, crowd, &crowd->result[i]) < 0);
		}
		failed |= pid[i] < 0;
	}
	while (!failed && atomic_load_explicit(&crowd->ready, memory_order_acquire) < n) {
		int status;
		pid_t ended = waitpid(-1, &status, WNOHANG);

		for (unsigned i = 0; i < n; i++)
			failed |= ended > 0 && ended == pid[i];
		sched_yield();
	}
	crowd->ns = job->ns;
	atomic_store_explicit(&crowd->began, now_ns(), memory_order_release);
	for (unsigned i = 0; i < n && !failed; i++) {
		int status;

		if (waitpid(pid[i], &status, 0) != pid[i] || status)
			failed = 1;
	}
	if (failed) {
		for (unsigned i = 0; i < n; i++)
			if (pid[i] > 0)
				kill(pid[i], SIGKILL);
		bench_fail("clients", "a client process failed");
	}
}

double crowd_gbps(const struct crowd *crowd, unsigned n)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += (double)crowd->result[i].bytes / (double)crowd->ns;
	return sum;
}

/* Jain's index: 1 if all get the same, 1/n if one gets everything. (Jain, Chiu, Hawe 1984) */
double crowd_jain(const struct crowd *crowd, unsigned n)
{
	double sum = 0, squares = 0;

	for (unsigned i = 0; i < n; i++) {
		double share = (double)crowd->result[i].bytes / (double)crowd->ns;

		sum += share;
		squares += share * share;
	}
	return sum * sum / (n * squares);
}

double crowd_taken_back(const struct crowd *crowd, unsigned n)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += crowd->result[i].taken_back;
	return sum / n;
}

double crowd_latency(const struct crowd *crowd, unsigned n, unsigned per_mille)
{
	static uint64_t all[BENCH_MAX_PROCESSES * BENCH_SAMPLES];
	size_t count = 0;

	for (unsigned i = 0; i < n; i++) {
		memcpy(all + count, crowd->result[i].latency,
		       crowd->result[i].samples * sizeof *all);
		count += crowd->result[i].samples;
	}
	sort_samples(all, count);
	return count ? (double)percentile(all, count, per_mille) : 0;
}

double crowd_mops(const struct crowd *crowd, unsigned n)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += (double)crowd->result[i].operations / (double)crowd->ns;
	return sum * 1e3;
}

struct crowd *crowd_open(void)
{
	struct crowd *crowd = mmap(NULL, sizeof *crowd, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (crowd == MAP_FAILED)
		bench_fail("clients", "out of memory");
	return crowd;
}

void crowd_close(struct crowd *crowd)
{
	munmap(crowd, sizeof *crowd);
}
