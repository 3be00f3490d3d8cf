/* SPDX-License-Identifier: BSD-3-Clause */
/* A private daemon for the measurements, which this program starts and stops. */
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char directory[] = "/tmp/vdm-bench.XXXXXX";
static char private_socket[sizeof directory + 16];
static char config[sizeof directory + 16];
static pid_t daemon_pid;
static pid_t owner; /* the process that started it */

static void remove_daemon(void)
{
	if (daemon_pid <= 0)
		return;
	kill(daemon_pid, SIGTERM);
	waitpid(daemon_pid, NULL, 0);
	daemon_pid = 0;
	unlink(private_socket);
	unlink(config);
	rmdir(directory);
}

/* Interrupted: leave nothing behind. All functions called here are safe in a handler,
 * signal-safety(7). */
static void on_signal(int number)
{
	if (getpid() == owner) /* not a client process of ours */
		remove_daemon();
	_exit(128 + number);
}

void bench_fail(const char *what, const char *why)
{
	fprintf(stderr, "vdm-bench: %s: %s\n", what, why);
	remove_daemon();
	exit(1);
}

static void become_daemon(const struct bench *bench)
{
	char program[PATH_MAX], beside[PATH_MAX + 8];
	char workers[16];
	ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin_to_cpu(bench->worker_cpu);
	snprintf(workers, sizeof workers, "%u", bench->workers);
	dup2(STDERR_FILENO, STDOUT_FILENO); /* standard output is for results */
	if (length > 0) {
		program[length] = '\0';
		snprintf(beside, sizeof beside, "%s/vdmd", dirname(program));
		execl(beside, "vdmd", "--socket", private_socket, "--workers", workers, "--config",
		      config, "--log-level", "warning", NULL);
	}
	execlp("vdmd", "vdmd", "--socket", private_socket, "--workers", workers, "--config", config,
	       "--log-level", "warning", NULL);
	_exit(127);
}

static void start_daemon(const struct bench *bench)
{
	const struct sigaction action = {.sa_handler = on_signal};

	if (!mkdtemp(directory))
		bench_fail(directory, strerror(errno));
	owner = getpid();
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	snprintf(private_socket, sizeof private_socket, "%s/vdmd.sock", directory);
	snprintf(config, sizeof config, "%s/conf", directory);
	FILE *file = fopen(config, "we");

	if (!file)
		bench_fail(config, strerror(errno));
	fclose(file);
	daemon_pid = fork();
	if (daemon_pid < 0)
		bench_fail("vdmd", strerror(errno));
	if (daemon_pid == 0)
		become_daemon(bench);
}

/* Connect; a daemon that has just been started gets five seconds to listen. */
static void connect_client(struct bench *bench, const char *socket)
{
	struct vdm_options options = {.size = sizeof options,
				      .socket = socket,
				      .flags = VDM_OPTION_REQUIRE_DAEMON,
				      .offload_threshold = 1};
	const struct timespec pause = {.tv_nsec = 10000000};
	int result = 0;

	for (int attempt = 0; attempt < 500; attempt++) {
		result = vdm_client_open(&options, &bench->client);
		if (!result || !daemon_pid)
			break;
		if (waitpid(daemon_pid, NULL, WNOHANG) == daemon_pid) {
			daemon_pid = 0;
			unlink(config);
			rmdir(directory);
			bench_fail(
				"vdmd",
				"it ended at once; is it installed beside vdm-bench or in $PATH?");
		}
		nanosleep(&pause, NULL);
	}
	if (result)
		bench_fail("connecting to vdmd", vdm_last_error());
}

void harness_start(struct bench *bench, const char *socket)
{
	if (!socket)
		start_daemon(bench);
	bench->socket = socket ? socket : private_socket;
	connect_client(bench, bench->socket);
	pin_to_cpu(bench->client_cpu);

	struct vdm_client_info info = {.size = sizeof info};

	vdm_client_info(bench->client, &info);
	bench->workers = info.workers;
}

/* The daemon has to have carried out what is printed as its own. */
static void check_lanes(struct bench *bench)
{
	struct vdm_client_counters counters = {.size = sizeof counters};

	if (vdm_client_counters(bench->client, &counters))
		bench_fail("counters", vdm_last_error());
	if (counters.local_small || counters.local_outside || counters.local_disconnected ||
	    counters.failed)
		bench_fail("figures are void",
			   "some operations failed or ran in vdm-bench, not in vdmd");
}

void harness_unpin_daemon(void)
{
	char path[64];
	cpu_set_t all;

	snprintf(path, sizeof path, "/proc/%d/task", (int)daemon_pid);
	DIR *tasks = daemon_pid > 0 ? opendir(path) : NULL;

	CPU_ZERO(&all);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		CPU_SET(cpu, &all);
	for (struct dirent *e; tasks && (e = readdir(tasks));)
		if (e->d_name[0] != '.')
			sched_setaffinity((pid_t)strtol(e->d_name, NULL, 10), sizeof all, &all);
	if (tasks)
		closedir(tasks);
}

void harness_stop(struct bench *bench)
{
	check_lanes(bench);
	vdm_client_close(bench->client);
	remove_daemon();
}
