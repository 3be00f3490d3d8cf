/* SPDX-License-Identifier: BSD-3-Clause */
/* The clients of a scene, as their parent sees them. */
#include "demo.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static size_t stage_bytes(const struct scene *scene)
{
	return sizeof *scene->stage + scene->clients * sizeof *scene->stage->account;
}

static int open_stage(struct scene *scene)
{
	struct stage *stage = mmap(NULL, stage_bytes(scene), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t shared;

	if (stage == MAP_FAILED) {
		fprintf(stderr, "vdm-demo: out of memory\n");
		return -1;
	}
	pthread_barrierattr_init(&shared);
	pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&stage->barrier, &shared, (unsigned)scene->clients);
	pthread_barrierattr_destroy(&shared);
	scene->stage = stage;
	return 0;
}

void scene_end(struct scene *scene)
{
	if (scene->stage)
		munmap(scene->stage, stage_bytes(scene));
}

/* Returns the process, or -1 after a message. */
static pid_t start_client(const struct scene *scene, size_t index)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		fprintf(stderr, "vdm-demo: %s\n", strerror(errno));
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	_exit(getppid() == parent ? client_run(scene, index) : 1);
}

/* The others would wait for a client that has failed. */
static void kill_clients(const pid_t *pid, size_t clients)
{
	for (size_t i = 0; i < clients; i++)
		if (pid[i] > 0)
			kill(pid[i], SIGKILL);
}

/* Returns 0 if all clients did. */
static int wait_for_clients(pid_t *pid, size_t clients)
{
	int result = 0, status;
	pid_t ended;

	while ((ended = waitpid(-1, &status, 0)) > 0) {
		for (size_t i = 0; i < clients; i++)
			if (pid[i] == ended)
				pid[i] = 0;
		if (status == 0)
			continue;
		if (result == 0 && WIFSIGNALED(status))
			fprintf(stderr, "vdm-demo: a client: %s\n", strsignal(WTERMSIG(status)));
		result = -1;
		kill_clients(pid, clients);
	}
	return result;
}

/* CPU time of this machine that was not idle, in ns; 0 if the kernel does not tell. proc_stat(5) */
static int64_t machine_cpu_ns(void)
{
	long long user, nice, system, irq, softirq;
	FILE *file = fopen("/proc/stat", "re");
	int read = file ? fscanf(file, "cpu %lld %lld %lld %*d %*d %lld %lld", &user, &nice,
				 &system, &irq, &softirq)
			: 0;

	if (file)
		fclose(file);
	if (read != 5)
		return 0;
	return (user + nice + system + irq + softirq) * (1000000000 / sysconf(_SC_CLK_TCK));
}

static int64_t timeval_ns(struct timeval time)
{
	return (int64_t)time.tv_sec * 1000000000 + (int64_t)time.tv_usec * 1000;
}

/* CPU time of the machine that neither clients that have ended nor the daemon used. */
static int64_t others_cpu_ns(const struct scene *scene)
{
	struct rusage clients;

	getrusage(RUSAGE_CHILDREN, &clients);
	return machine_cpu_ns() - timeval_ns(clients.ru_utime) - timeval_ns(clients.ru_stime) -
	       (int64_t)clock_ns(scene->daemon_clock);
}

static int run_clients(const struct scene *scene)
{
	pid_t pid[CLIENTS_MAXIMUM] = {0};
	size_t started = 0;

	fflush(NULL);
	while (started < scene->clients && (pid[started] = start_client(scene, started)) > 0)
		started++;
	if (started < scene->clients)
		kill_clients(pid, started);
	return wait_for_clients(pid, started) < 0 || started < scene->clients ? -1 : 0;
}

int scene_run(struct scene *scene)
{
	if (open_stage(scene) < 0)
		return -1;

	int64_t others = others_cpu_ns(scene);
	uint64_t begin = clock_ns(CLOCK_MONOTONIC);
	int result = run_clients(scene);

	scene->others_cpus = (double)(others_cpu_ns(scene) - others) /
			     (double)(clock_ns(CLOCK_MONOTONIC) - begin);
	return result;
}
