/* SPDX-License-Identifier: BSD-3-Clause */
/* Many processes at once: what each gets, and whether a machine that is full of copying is slower with a daemon. */
#include "bench.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST    64
#define SAMPLES 20000
#define DEPTH   4

struct result {
	uint64_t bytes, operations;
	uint64_t ns;                /* that it ran */
	uint64_t samples;
	uint64_t latency[SAMPLES];
};

struct crowd {
	_Atomic unsigned ready;
	_Atomic int go;
	struct result result[MOST];
};

enum way { OFFLOADED, INLINE };

struct job {
	struct bench *bench;
	size_t size, set;           /* of a copy; of the memory that a process goes through, each side */
	enum way way;
	size_t threshold;           /* 0: the default */
	uint64_t ns;                /* how long */
};

static void unpin(void)
{
	cpu_set_t all;

	CPU_ZERO(&all);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		CPU_SET(cpu, &all);
	sched_setaffinity(0, sizeof all, &all);
}

static void wait_to_go(struct crowd *crowd)
{
	atomic_fetch_add_explicit(&crowd->ready, 1, memory_order_release);
	while (!atomic_load_explicit(&crowd->go, memory_order_acquire))
		sched_yield();
}

static void copy_inline(const struct job *job, char *memory, struct result *result)
{
	uint64_t begin = now_ns(), now = begin;

	for (size_t at = 0; now - begin < job->ns; at = (at + job->size) % job->set) {
		memcpy(memory + job->set + at, memory + at, job->size);
		result->bytes += job->size;
		result->operations++;
		now = now_ns();
	}
	result->ns = now - begin;
}

/* Up to DEPTH in flight; the latency of one is from its submission to its completion being seen. */
static int copy_offloaded(const struct job *job, struct vdm_ring *ring, char *memory, struct result *result)
{
	uint64_t begin = now_ns(), now = begin, submitted[DEPTH];
	unsigned unused[DEPTH], in_flight = 0;
	size_t at = 0;

	for (unsigned i = 0; i < DEPTH; i++)
		unused[i] = i;
	for (;;) {
		struct vdm_cqe *cqe;

		for (; in_flight < DEPTH && now - begin < job->ns; in_flight++) {
			struct vdm_sqe *sqe = vdm_ring_get_sqe(ring);
			unsigned slot = unused[in_flight];

			vdm_prep_memcpy(sqe, memory + job->set + at, memory + at, job->size, 0);
			sqe->user_data = slot;
			submitted[slot] = now_ns();
			vdm_ring_submit(ring);
			at = (at + job->size) % job->set;
		}
		if (in_flight == 0)
			break;
		if (vdm_ring_wait_cqe(ring, &cqe) || cqe->result)
			return -1;
		now = now_ns();
		if (result->samples < SAMPLES)
			result->latency[result->samples++] = now - submitted[cqe->user_data];
		unused[--in_flight] = (unsigned)cqe->user_data;
		result->bytes += job->size;
		result->operations++;
		vdm_ring_cqe_seen(ring, cqe);
	}
	result->ns = now - begin;
	return 0;
}

static int be_client(const struct job *job, struct crowd *crowd, struct result *result)
{
	const struct vdm_options options = {.size = sizeof options,
					    .socket = job->bench->socket,
					    .flags = VDM_OPTION_REQUIRE_DAEMON,
					    .entries = 8,
					    .offload_threshold = job->threshold};
	struct vdm_client *client;
	struct vdm_region *region;
	struct vdm_ring *ring;

	unpin();
	if (vdm_client_open(&options, &client) || vdm_region_alloc(client, 2 * job->set, &region) ||
	    vdm_ring_open(client, NULL, &ring))
		return -1;
	wait_to_go(crowd);
	if (job->way == INLINE)
		copy_inline(job, vdm_region_address(region), result);
	else if (copy_offloaded(job, ring, vdm_region_address(region), result) < 0)
		return -1;
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
	return 0;
}

static void run(const struct job *job, struct crowd *crowd, unsigned n)
{
	pid_t pid[MOST], parent = getpid();
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
	atomic_store_explicit(&crowd->go, 1, memory_order_release);
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

static double gigabytes_per_second(const struct crowd *crowd, unsigned n)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += (double)crowd->result[i].bytes / (double)crowd->result[i].ns;
	return sum;
}

/* Jain's index: 1 if all get the same, 1/n if one gets everything. (Jain, Chiu, Hawe 1984) */
static double fairness(const struct crowd *crowd, unsigned n)
{
	double sum = 0, squares = 0;

	for (unsigned i = 0; i < n; i++) {
		double share = (double)crowd->result[i].bytes / (double)crowd->result[i].ns;

		sum += share;
		squares += share * share;
	}
	return sum * sum / (n * squares);
}

static double latency_p99(const struct crowd *crowd, unsigned n)
{
	static uint64_t all[MOST * SAMPLES];
	size_t count = 0;

	for (unsigned i = 0; i < n; i++) {
		memcpy(all + count, crowd->result[i].latency,
		       crowd->result[i].samples * sizeof *all);
		count += crowd->result[i].samples;
	}
	sort_samples(all, count);
	return count ? (double)percentile(all, count, 990) : 0;
}

static struct crowd *open_crowd(void)
{
	struct crowd *crowd = mmap(NULL, sizeof *crowd, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (crowd == MAP_FAILED)
		bench_fail("clients", "out of memory");
	return crowd;
}

void measure_clients(struct bench *bench)
{
	static const unsigned numbers[] = {1, 4, 16, 64};
	struct crowd *crowd = open_crowd();
	const struct job job = {.bench = bench, .size = 65536, .set = 1 << 20, .threshold = 1,
				.ns = bench->quick ? 500000000 : 2000000000};

	json_list("clients");
	for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		unsigned n = numbers[i];
		double operations = 0;

		run(&job, crowd, n);
		for (unsigned k = 0; k < n; k++)
			operations += (double)crowd->result[k].operations /
				      (double)crowd->result[k].ns;
		json_object(NULL);
		json_value("n", n);
		json_value("gbps", gigabytes_per_second(crowd, n));
		json_value("mops", operations * 1e3);
		json_value("jain", fairness(crowd, n));
		json_value("p99_ns", latency_p99(crowd, n));
		json_object_end();
	}
	json_list_end();
	munmap(crowd, sizeof *crowd);
}

/* As many copying processes as there are CPUs, with default settings; the daemon's workers may go anywhere. */
void measure_saturated(struct bench *bench)
{
	enum { ROUNDS = 3 };
	struct crowd *crowd = open_crowd();
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned n = cpus > MOST ? MOST : cpus < 1 ? 1 : (unsigned)cpus;
	struct job job = {.bench = bench, .size = 1 << 20, .set = 64 << 20,
			  .ns = bench->quick ? 500000000 : 2000000000};
	double inlined[ROUNDS], offloaded[ROUNDS];

	harness_unpin_daemon();
	for (unsigned i = 0; i < ROUNDS; i++) {
		job.way = INLINE;
		run(&job, crowd, n);
		inlined[i] = gigabytes_per_second(crowd, n);
		job.way = OFFLOADED;
		run(&job, crowd, n);
		offloaded[i] = gigabytes_per_second(crowd, n);
	}
	json_object("saturated");
	json_value("inline_gbps", median(inlined, ROUNDS));
	json_value("vdm_gbps", median(offloaded, ROUNDS));
	json_object_end();
	munmap(crowd, sizeof *crowd);
}
