/* SPDX-License-Identifier: BSD-3-Clause */
#include "process_figures.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"

pid_t daemon_pid(void)
{
	const char *pid = getenv("VDM_DAEMON_PID");

	CHECK(pid, "$VDM_DAEMON_PID is not set: run this through with_daemon.sh");
	return (pid_t)strtol(pid, NULL, 10);
}

/* Threads of the daemon that are not stopped: SIGSTOP reaches each in its own time. */
static unsigned running_threads(pid_t pid)
{
	char path[128], line[256];
	unsigned running = 0;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);

	CHECK(tasks, "%s: %s", path, strerror(errno));
	for (struct dirent *e; (e = readdir(tasks));) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "/proc/%d/task/%.20s/stat", (int)pid, e->d_name);
		FILE *stat = fopen(path, "re");

		if (!stat)
			continue;
		const char *after_name = fgets(line, sizeof line, stat) ? strrchr(line, ')') : NULL;

		running += !after_name || after_name[2] != 'T';
		fclose(stat);
	}
	closedir(tasks);
	return running;
}

void daemon_freeze(void)
{
	kill(daemon_pid(), SIGSTOP);
	while (running_threads(daemon_pid()) > 0)
		sched_yield();
}

void daemon_thaw(void)
{
	kill(daemon_pid(), SIGCONT);
}

unsigned count_fds(pid_t pid)
{
	char path[64];
	unsigned count = 0;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	DIR *directory = opendir(path);

	CHECK(directory, "%s: %s", path, strerror(errno));
	for (struct dirent *e; (e = readdir(directory));)
		count += e->d_name[0] != '.';
	closedir(directory);
	return count;
}

unsigned count_memfd_mappings(pid_t pid)
{
	char path[64], line[512];
	unsigned count = 0;

	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	FILE *maps = fopen(path, "re");

	CHECK(maps, "%s: %s", path, strerror(errno));
	while (fgets(line, sizeof line, maps))
		count += strstr(line, "/memfd:") != NULL;
	fclose(maps);
	return count;
}

static uint64_t switches_of_thread(const char *path)
{
	char line[256];
	uint64_t sum = 0, value;
	FILE *status = fopen(path, "re");

	if (!status)
		return 0; /* the thread has just ended */
	while (fgets(line, sizeof line, status))
		if (sscanf(line, "voluntary_ctxt_switches: %" SCNu64, &value) == 1 ||
		    sscanf(line, "nonvoluntary_ctxt_switches: %" SCNu64, &value) == 1)
			sum += value;
	fclose(status);
	return sum;
}

unsigned anonymous_kib(pid_t pid)
{
	char path[64], line[256];
	unsigned kib = 0;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "re");

	CHECK(file, "%s: the process has gone", path);
	while (fgets(line, sizeof line, file))
		if (sscanf(line, "RssAnon: %u", &kib) == 1)
			break;
	fclose(file);
	return kib;
}

uint64_t context_switches(pid_t pid)
{
	char path[128];
	uint64_t sum = 0;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);

	CHECK(tasks, "%s: %s", path, strerror(errno));
	for (struct dirent *e; (e = readdir(tasks));) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "/proc/%d/task/%.20s/status", (int)pid, e->d_name);
		sum += switches_of_thread(path);
	}
	closedir(tasks);
	return sum;
}

/* Between two looks; only how soon a test goes on depends on it. */
static void look_again_later(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* After so many looks a waiter says what it is waiting for. */
#define LOOKS_BEFORE_COMPLAINT 5000

void await_figure(const char *what, unsigned (*figure)(pid_t), pid_t pid, unsigned expected)
{
	for (unsigned looks = 0;; looks++) {
		unsigned value = figure(pid);

		if (value <= expected)
			return;
		if (looks == LOOKS_BEFORE_COMPLAINT)
			fprintf(stderr, "%s: still %u, and should become %u\n", what, value,
				expected);
		look_again_later();
	}
}

struct daemon_figures daemon_figures(void)
{
	struct vdm_status *status;
	int result = vdm_status_read(NULL, &status);

	CHECK(result == 0, "reading the status: %s", strerror(-result));
	struct daemon_figures figures = {.sessions = status->sessions,
					 .rings = status->rings,
					 .regions = status->regions,
					 .accepted = status->sessions_accepted,
					 .violated = status->sessions_violated,
					 .bytes = status->counts.bytes,
					 .wakeups = status->wakeups};

	free(status);
	return figures;
}

static unsigned workers_awake(void)
{
	struct vdm_status *status;
	int result = vdm_status_read(NULL, &status);

	CHECK(result == 0, "reading the status: %s", strerror(-result));
	unsigned awake = status->workers_awake;

	free(status);
	return awake;
}

void daemon_await_sleep(void)
{
	while (workers_awake() > 0)
		look_again_later();
}

void await_sessions(uint32_t expected)
{
	for (unsigned looks = 0;; looks++) {
		uint32_t sessions = daemon_figures().sessions;

		if (sessions == expected)
			return;
		if (looks == LOOKS_BEFORE_COMPLAINT)
			fprintf(stderr, "the daemon has %u sessions, and should have %u\n",
				sessions, expected);
		look_again_later();
	}
}
