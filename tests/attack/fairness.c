/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fairness [--seconds N]: how long copies of 4 KiB take, one at a time, alone and beside another
 * user, whose ring always has copies of 32 MiB in flight. The two are measured in turns, because
 * the load of the machine changes with time. The figures are medians over the turns.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "attackers.h"
#include "integration/check.h"
#include "integration/client_processes.h"
#include "integration/process_figures.h"
#include "integration/ring_use.h"
#include "integration/scale.h"

#define TURNS   9
#define SIZE    4096
#define SAMPLES 1000000

/* What one turn has measured. */
struct figures {
	double p50_us, p99_us, copies;
};

struct shared {
	_Atomic unsigned asked, answered; /* turns */
	_Atomic int stop;
	struct figures figures;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
	const uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

static int ascending_double(const void *a, const void *b)
{
	const double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static void copy_until_stopped(struct shared *shared, struct vdm_ring *ring, char *memory)
{
	static uint32_t samples[SAMPLES];
	size_t count = 0, copies = 0;

	while (!atomic_load_explicit(&shared->stop, memory_order_relaxed)) {
		memset(memory, (int)copies++, SIZE);
		vdm_prep_memcpy(entry(ring), memory + SIZE, memory, SIZE, 0);

		uint64_t begin = now_ns();

		CHECK(run_one(ring) == 0, "a copy has failed");
		samples[count < SAMPLES ? count++ : copies % SAMPLES] =
			(uint32_t)(now_ns() - begin);
		CHECK(memcmp(memory, memory + SIZE, SIZE) == 0, "copy %zu is wrong", copies);
	}
	CHECK(count > 0, "nothing has been copied");
	qsort(samples, count, sizeof *samples, ascending);
	uint32_t p50 = samples[count / 2], p99 = samples[count * 99 / 100];

	shared->figures = (struct figures){p50 / 1e3, p99 / 1e3, (double)copies};
}

static void pause_briefly(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void victim(unsigned other_user, void *argument)
{
	struct shared *shared = argument;
	struct vdm_region *region;

	alarm(0); /* as long as it takes */
	if (other_user)
		CHECK(setuid(VICTIM_UID) == 0, "%s", strerror(errno));
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* changing the user has cleared this, prctl(2) */
	struct vdm_client *client = client_opened();
	struct vdm_ring *ring = ring_opened(client, 16, 0);
	char *memory = region_opened(client, 2 * SIZE, &region);

	for (unsigned turn = 1;; turn++) {
		while (atomic_load(&shared->asked) < turn)
			pause_briefly();
		copy_until_stopped(shared, ring, memory);
		atomic_store(&shared->answered, turn);
	}
}

static struct figures turn(struct shared *shared, double seconds, double *gigabytes)
{
	uint64_t before = daemon_figures().bytes, nanoseconds = (uint64_t)(seconds * 1e9);
	const struct timespec duration = {(time_t)(nanoseconds / 1000000000),
					  (long)(nanoseconds % 1000000000)};

	atomic_store(&shared->stop, 0);
	atomic_fetch_add(&shared->asked, 1);
	nanosleep(&duration, NULL);
	atomic_store(&shared->stop, 1);
	*gigabytes = (double)(daemon_figures().bytes - before) / 1e9;
	while (atomic_load(&shared->answered) < atomic_load(&shared->asked))
		pause_briefly();
	return shared->figures;
}

static double median(double values[TURNS])
{
	qsort(values, TURNS, sizeof *values, ascending_double);
	return values[TURNS / 2];
}

int main(int argc, char **argv)
{
	static const struct option known[] = {{"seconds", required_argument, NULL, 's'}, {0}};
	double seconds = 6, p99_alone[TURNS], p50[TURNS], p99[TURNS], times[TURNS], rate[TURNS],
	       own[TURNS];
	int option, other_user = geteuid() == 0;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (option == 's')
			seconds = strtod(optarg, NULL);
		else
			return 2;
	}
	if (!other_user) {
		printf("skipped: only root can be two users\n");
		return 77;
	}
	guard_against_hanging((unsigned)seconds * 2 + 100);
	struct shared *shared = shared_between_processes(sizeof *shared);

	client_process(victim, (unsigned)other_user, shared);
	for (unsigned i = 0; i < TURNS; i++) {
		double gigabytes;

		p99_alone[i] = turn(shared, seconds / TURNS / 2, &gigabytes).p99_us;
		pid_t greedy = start_attacker(hog, other_user);

		await_sessions(3);
		struct figures beside = turn(shared, seconds / TURNS / 2, &gigabytes);

		kill(greedy, SIGKILL);
		waitpid(greedy, NULL, 0);
		await_sessions(2);
		p50[i] = beside.p50_us;
		p99[i] = beside.p99_us;
		times[i] = beside.p99_us / p99_alone[i];
		own[i] = beside.copies * SIZE / 1e9 / seconds * TURNS * 2;
		rate[i] = gigabytes / seconds * TURNS * 2 - own[i];
	}
	printf("copies of %d bytes: p99 %.2f us alone; p50 %.2f us and p99 %.2f us, %.1f times as "
	       "long, beside a user with 1024 "
	       "copies of 32 MiB in flight, for whom %.1f GB/s are moved, and %.1f for this one\n",
	       SIZE, median(p99_alone), median(p50), median(p99), median(times), median(rate),
	       median(own));
	return 0;
}
