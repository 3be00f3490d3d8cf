/* SPDX-License-Identifier: BSD-3-Clause */
/* What a daemon with clients but without work costs: CPU time and context switches of all of its
 * threads. */
#include "bench.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct usage {
	double cpu_s;
	double switches;
};

/* Add the figures of a thread, and nothing if its file cannot be read. */
static void add_thread(const char *directory, struct usage *usage)
{
	char path[512], line[512];
	unsigned long long ns;
	unsigned long switches;

	snprintf(path, sizeof path, "%s/schedstat", directory);
	FILE *file = fopen(path, "re");

	if (file && fscanf(file, "%llu", &ns) == 1) /* time on a CPU, proc(5) */
		usage->cpu_s += (double)ns / 1e9;
	if (file)
		fclose(file);
	snprintf(path, sizeof path, "%s/status", directory);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "voluntary_ctxt_switches: %lu", &switches) == 1 ||
		    sscanf(line, "nonvoluntary_ctxt_switches: %lu", &switches) == 1)
			usage->switches += (double)switches;
	if (file)
		fclose(file);
}

static struct usage usage_of(uint32_t pid)
{
	struct usage usage = {0};
	char path[64], thread[400];

	snprintf(path, sizeof path, "/proc/%u/task", pid);
	DIR *tasks = opendir(path);

	if (!tasks)
		bench_fail("idle", "the daemon's figures in /proc cannot be read");
	for (struct dirent *e; (e = readdir(tasks));) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(thread, sizeof thread, "%s/%.200s", path, e->d_name);
		add_thread(thread, &usage);
	}
	closedir(tasks);
	return usage;
}

static uint32_t daemon_process(struct bench *bench)
{
	struct vdm_status *status;

	if (vdm_status_read(bench->socket, &status))
		bench_fail("reading the daemon's status", vdm_last_error());
	uint32_t pid = status->pid;

	free(status);
	return pid;
}

double daemon_cpu_s(struct bench *bench)
{
	return usage_of(daemon_process(bench)).cpu_s;
}

void measure_idle(struct bench *bench)
{
	struct timespec seconds = {.tv_sec = bench->quick ? 2 : 10};
	uint32_t pid = daemon_process(bench);

	nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL); /* what came before is over */
	struct usage before = usage_of(pid);

	nanosleep(&seconds, NULL);
	struct usage after = usage_of(pid);

	json_object("idle");
	json_value("seconds", (double)seconds.tv_sec);
	json_value("daemon_cpu_s", after.cpu_s - before.cpu_s);
	json_value("wakeups", after.switches - before.switches);
	json_object_end();
}
