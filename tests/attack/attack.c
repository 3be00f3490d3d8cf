/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * attack [--seconds N] [--descriptors N]: many attackers of every kind at once, killed and started
 * again at random. Meanwhile a well-behaved client of another user copies, compares every byte and
 * measures how long its copies take. In the end the daemon is the same process, and has as many
 * descriptors and as much memory as before.
 *
 * --descriptors: limits the daemon's descriptors, so that it runs out of them all the time.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "attackers.h"
#include "integration/check.h"
#include "integration/client_processes.h"
#include "integration/process_figures.h"
#include "integration/ring_use.h"
#include "integration/scale.h"

#define AT_ONCE 6
#define SIZE    4096

#define SAMPLES 100000

struct figures {
	_Atomic int stop;
	unsigned long copies;
	double unloaded_p99_us, loaded_p50_us, loaded_p99_us, worst_ms;
};

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
	const double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

/* Copy until `stop`, or for so many samples, and compare every byte. Stores percentiles. */
static void copy_and_compare(struct figures *figures, struct vdm_ring *ring, unsigned char *memory,
			     size_t most, double *p50_us, double *p99_us)
{
	static double samples[SAMPLES];
	size_t count = 0;

	for (size_t n = 0; n < most && !figures->stop; n++) {
		unsigned char value = (unsigned char)n;
		struct vdm_cqe *cqe;

		memset(memory, value, SIZE);
		memset(memory + SIZE, ~value, SIZE);
		vdm_prep_memcpy(entry(ring), memory + SIZE, memory, SIZE, 0);
		double begin = now_s();

		CHECK(vdm_ring_submit(ring) == 1, "submitting");
		CHECK(vdm_ring_wait_cqe(ring, &cqe) == 0, "waiting");
		double took = now_s() - begin;

		CHECK(cqe->result == 0, "result %d", cqe->result);
		vdm_ring_cqe_seen(ring, cqe);
		for (size_t i = 0; i < SIZE; i++)
			CHECK(memory[SIZE + i] == value, "byte %zu of copy %zu is wrong", i, n);
		if (took * 1e3 > figures->worst_ms)
			figures->worst_ms = took * 1e3;
		samples[count < SAMPLES ? count++ : n % SAMPLES] = took * 1e6;
		figures->copies++;
	}
	qsort(samples, count, sizeof *samples, compare);
	*p50_us = count ? samples[count / 2] : 0;
	*p99_us = count ? samples[count * 99 / 100] : 0;
}

static void victim(unsigned index, void *argument)
{
	struct figures *figures = argument;
	struct vdm_region *region;
	double unused;

	alarm(0); /* as long as it takes */
	if (index > 0)
		CHECK(setuid(VICTIM_UID) == 0, "%s", strerror(errno));
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* changing the user has cleared this, prctl(2) */
	struct vdm_client *client = client_opened();
	struct vdm_ring *ring = ring_opened(client, 16, 0);
	unsigned char *memory = (unsigned char *)region_opened(client, 2 * SIZE, &region);

	copy_and_compare(figures, ring, memory, 20000, &unused, &figures->unloaded_p99_us);
	figures->worst_ms = 0;
	atomic_store(&figures->stop, 2); /* the attack may begin */
	while (atomic_load(&figures->stop) == 2)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	copy_and_compare(figures, ring, memory, SIZE_MAX, &figures->loaded_p50_us,
			 &figures->loaded_p99_us);
	/* its operations had no error, and all of them went to the daemon */
	CHECK(counters_of(client).local_disconnected == 0 && counters_of(client).failed == 0,
	      "it was disturbed");
}

static void reap(pid_t pids[AT_ONCE], unsigned i)
{
	if (pids[i] > 0) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	pids[i] = 0;
}

/* At least one attacker of each kind, and then random ones. Returns how many have run. */
static unsigned attack(double seconds, int other_user)
{
	pid_t pids[AT_ONCE] = {0};
	unsigned started = 0, kinds = 0;
	double end = now_s() + seconds;

	while (attackers[kinds].name)
		kinds++;
	while (now_s() < end || started < 2 * kinds) {
		unsigned i = (unsigned)rand() % AT_ONCE;
		int status;

		if (pids[i] > 0 && waitpid(pids[i], &status, WNOHANG) == 0 && rand() % 4) {
			nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
			continue;
		}
		reap(pids, i);
		unsigned kind = started < 2 * kinds ? started % kinds : (unsigned)rand() % kinds;

		pids[i] = start_attacker(attackers[kind].body, other_user);
		started++;
	}
	for (unsigned i = 0; i < AT_ONCE; i++)
		reap(pids, i);
	return started;
}

/* Wait until the daemon accepts a client again, having noticed that the attackers are dead. */
static void await_room(void)
{
	struct vdm_status *status;

	while (vdm_status_read(NULL, &status) < 0)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	free(status);
}

int main(int argc, char **argv)
{
	static const struct option known[] = {{"seconds", required_argument, NULL, 's'},
					      {"descriptors", required_argument, NULL, 'd'},
					      {0}};
	struct figures *figures = shared_between_processes(sizeof *figures);
	double seconds = (double)scaled(1000) / 100; /* ten */
	rlim_t descriptors = 0;
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (option == 's')
			seconds = strtod(optarg, NULL);
		else if (option == 'd')
			descriptors = strtoul(optarg, NULL, 10);
		else
			return 2;
	}
	guard_against_hanging((unsigned)seconds * 2 + 100);
	/* raw attackers die in the middle of what they send */
	signal(SIGPIPE, SIG_IGN);
	int other_user = geteuid() == 0;

	if (!other_user)
		printf("not root: attackers and victim are one user, whose limits they share\n");
	pid_t daemon = daemon_pid();
	pid_t client = client_process(victim, (unsigned)other_user, figures);

	while (atomic_load(&figures->stop) != 2)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	if (descriptors) {
		const struct rlimit limit = {descriptors, descriptors};

		CHECK(prlimit(daemon, RLIMIT_NOFILE, &limit, NULL) == 0, "%s", strerror(errno));
	}
	attack(0.1, other_user); /* the daemon allocates some things once and keeps them */
	await_room();
	await_sessions(2);
	unsigned fds = count_fds(daemon), mappings = count_memfd_mappings(daemon);
	unsigned before_kib = anonymous_kib(daemon);

	atomic_store(&figures->stop, 0);
	unsigned started = attack(seconds, other_user);

	atomic_store(&figures->stop, 1);
	client_joined(client);
	await_room();
	await_sessions(1);
	await_figure("descriptors of the daemon", count_fds, daemon, fds);
	await_figure("memory files mapped by the daemon", count_memfd_mappings, daemon, mappings);
	CHECK(kill(daemon, 0) == 0, "the daemon is gone");
	struct daemon_figures after = daemon_figures();

	CHECK(after.rings == 0 && after.regions == 0, "%u rings and %u regions are left",
	      after.rings, after.regions);
	printf("%u attackers in %.0f s; %llu sessions, %llu ended for a violation\n", started,
	       seconds, (unsigned long long)after.accepted, (unsigned long long)after.violated);
	printf("the victim compared %lu copies of %d bytes: p99 %.1f us before, p50 %.1f us and p99 %.1f us during it, "
	       "worst %.1f ms\n",
	       figures->copies, SIZE, figures->unloaded_p99_us, figures->loaded_p50_us,
	       figures->loaded_p99_us, figures->worst_ms);
	unsigned after_kib = anonymous_kib(daemon);

	printf("the daemon's memory: %u KiB before, %u KiB after\n", before_kib, after_kib);
	/* allocators keep what they have got: a leak shows in its growth with time, not in its
	 * first pages */
	CHECK(is_sanitized() || after_kib < before_kib + before_kib / 4 + 1024,
	      "the daemon has grown from %u KiB to %u", before_kib, after_kib);
	CHECK(after.violated > 0, "no attack was noticed");
	return 0;
}
