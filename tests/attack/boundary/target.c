/* SPDX-License-Identifier: BSD-3-Clause */
#include "target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attack.h"
#include "integration/check.h"
#include "integration/daemon_process.h"
#include "memory_cgroup.h"
#include "samples.h"

/* Of the shipped unit. */
#define UNIT_DESCRIPTORS 65536

#define MOST_PROCESSES 4096

static void path_in(const struct target *target, const char *name, char path[128])
{
	snprintf(path, 128, "%s/%s", target->directory, name);
}

void target_prepare(struct target *target)
{
	*target = (struct target){.directory = "/tmp/vdmd-attack.XXXXXX"};
	CHECK(mkdtemp(target->directory), "%s: %s", target->directory, strerror(errno));
	CHECK(chown(target->directory, DAEMON_UID, DAEMON_UID) == 0 &&
		      chmod(target->directory, 0755) == 0,
	      "%s: %s", target->directory, strerror(errno));
	snprintf(target->socket, sizeof target->socket, "%s/vdmd.sock", target->directory);
	setenv("VDM_SOCKET", target->socket, 1);
	memory_cgroup_make(target->cgroup, sizeof target->cgroup);
}

void target_remove(struct target *target)
{
	static const char *const files[] = {"vdmd.sock", "vdmd.sock.lock", "notify", "conf",
					    "log",       "mount"};
	char path[128];

	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		path_in(target, files[i], path);
		remove(path);
	}
	remove(target->directory);
	memory_cgroup_remove(target->cgroup);
}

static void write_settings(const struct target *target, const char *settings)
{
	char path[128];

	path_in(target, "conf", path);
	FILE *file = fopen(path, "we");

	CHECK(file, "%s: %s", path, strerror(errno));
	if (settings)
		fputs(settings, file);
	CHECK(fclose(file) == 0, "%s: %s", path, strerror(errno));
}

/* Does not return. */
static void become_target(const struct target *target, unsigned descriptors, int report_fd)
{
	char notify[128], conf[128], log[128];
	char *argv[] = {getenv("VDMD"), "--socket", (char *)(uintptr_t)target->socket,
			"--config",     conf,       NULL};

	path_in(target, "notify", notify);
	path_in(target, "conf", conf);
	path_in(target, "log", log);
	memory_cgroup_enter(target->cgroup);

	int log_fd = open(log, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);

	CHECK(log_fd >= 0, "%s: %s", log, strerror(errno));
	CHECK(argv[0], "$VDMD has to name the daemon");
	limit_descriptors(descriptors ? descriptors : UNIT_DESCRIPTORS);
	CHECK(setgroups(0, NULL) == 0 && setresgid(DAEMON_UID, DAEMON_UID, DAEMON_UID) == 0 &&
		      setresuid(DAEMON_UID, DAEMON_UID, DAEMON_UID) == 0,
	      "%s", strerror(errno));
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(log_fd, STDOUT_FILENO);
	dup2(log_fd, STDERR_FILENO);
	daemon_exec(notify, report_fd, argv);
	CHECK(0, "%s: %s", argv[0], strerror(errno));
}

void target_start(struct target *target, const char *settings, unsigned descriptors)
{
	char ready;
	int ends[2];

	write_settings(target, settings);
	CHECK(pipe2(ends, O_CLOEXEC) == 0, "%s", strerror(errno));
	target->has_ended = false;
	target->pid = fork();
	CHECK(target->pid >= 0, "%s", strerror(errno));
	if (target->pid == 0)
		become_target(target, descriptors, ends[1]);
	close(ends[1]);
	if (read(ends[0], &ready, 1) != 1) {
		target_print_log(target);
		target_remove(target);
		CHECK(0, "the daemon ended before it was ready");
	}
	close(ends[0]);
	CHECK(chmod(target->socket, 0666) == 0, "%s: %s", target->socket, strerror(errno));
}

static unsigned count_fds_of(pid_t pid)
{
	char path[64];
	unsigned count = 0;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	DIR *directory = opendir(path);

	if (!directory)
		return 0; /* it has ended */
	for (const struct dirent *e; (e = readdir(directory));)
		count += e->d_name[0] != '.';
	closedir(directory);
	return count;
}

static unsigned anonymous_kib_of(pid_t pid)
{
	char path[64], line[256];
	unsigned kib = 0;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "re");

	if (!file)
		return 0; /* it has ended */
	while (fgets(line, sizeof line, file))
		if (sscanf(line, "RssAnon: %u", &kib) == 1)
			break;
	fclose(file);
	return kib;
}

/* The daemon's processes: those of its cgroup, or else the first alone. */
static unsigned processes_of(const struct target *target, pid_t pids[MOST_PROCESSES])
{
	if (target->cgroup[0])
		return memory_cgroup_processes(target->cgroup, pids, MOST_PROCESSES);
	pids[0] = target->pid;
	return target->has_ended ? 0 : 1;
}

struct target_figures target_figures(const struct target *target)
{
	static pid_t pids[MOST_PROCESSES];
	struct target_figures figures = {.processes = processes_of(target, pids)};
	double cgroup_bytes = memory_cgroup_bytes(target->cgroup);

	for (unsigned i = 0; i < figures.processes; i++) {
		figures.fds += count_fds_of(pids[i]);
		figures.anonymous_mib += anonymous_kib_of(pids[i]) / 1024.0;
	}
	figures.memory_mib = cgroup_bytes >= 0 ? cgroup_bytes / 1048576 : figures.anonymous_mib;
	return figures;
}

bool target_ended(struct target *target)
{
	if (!target->has_ended && waitpid(target->pid, &target->status, WNOHANG) == target->pid)
		target->has_ended = true;
	return target->has_ended;
}

double target_await_end(struct target *target, unsigned patience_ms)
{
	uint64_t begin = monotonic_now_ns();

	for (;;) {
		double ms = (double)(monotonic_now_ns() - begin) / 1e6;

		if (target_ended(target))
			return ms;
		if (ms > patience_ms)
			return -1;
		attack_pause_ms(1);
	}
}

bool target_clear(struct target *target, unsigned patience_ms)
{
	static pid_t pids[MOST_PROCESSES];

	for (unsigned ms = 0; ms <= patience_ms; ms += 10) {
		bool ended = target_ended(target);
		unsigned count = processes_of(target, pids);

		if (ended && count == 0)
			return true;
		if (!ended)
			kill(target->pid, SIGKILL);
		for (unsigned i = 0; i < count; i++)
			kill(pids[i], SIGKILL);
		attack_pause_ms(10);
	}
	return false;
}

void target_print_log(const struct target *target)
{
	char path[128], line[512];

	path_in(target, "log", path);
	FILE *file = fopen(path, "re");

	while (file && fgets(line, sizeof line, file))
		fprintf(stderr, "  vdmd: %s", line);
	if (file)
		fclose(file);
}
