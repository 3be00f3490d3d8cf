/* SPDX-License-Identifier: BSD-3-Clause */
/* vdm-demo: several processes copy files through the daemon at $VDM_SOCKET; see ../../demo. */
#include "demo.h"

#include <errno.h>
#include <getopt.h>
#include <libvdm.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MINIMUM 4
#define CLIENTS_MAXIMUM 16
#define DEFAULT_FILES   8
#define DEFAULT_SECONDS 8

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
	interrupted = number;
}

struct demo {
	struct files files;
	size_t clients;
	unsigned seconds;
	pid_t pid[CLIENTS_MAXIMUM];
	struct tally *tally; /* one for each client */
	unsigned failed;
	bool terminal;
};

static uint64_t get(const _Atomic uint64_t *figure)
{
	return atomic_load_explicit(figure, memory_order_relaxed);
}

static double gigabytes_per_second(uint64_t bytes, uint64_t ns)
{
	return ns ? (double)bytes / (double)ns : 0;
}

static int start_clients(struct demo *demo)
{
	uint64_t deadline = now_ns() + demo->seconds * 1000000000ull;
	pid_t parent = getpid();

	for (size_t i = 0; i < demo->clients; i++) {
		fflush(NULL);
		demo->pid[i] = fork();
		if (demo->pid[i] < 0) {
			fprintf(stderr, "vdm-demo: %s\n", strerror(errno));
			return -1;
		}
		if (demo->pid[i] == 0) {
			signal(SIGINT, SIG_DFL);
			signal(SIGTERM, SIG_DFL);
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent)
				_exit(1);
			/* with fewer files than clients, several take the same */
			size_t files = demo->files.count;

			_exit(client_run(&demo->files, i % files,
					 demo->clients < files ? demo->clients : files, deadline,
					 &demo->tally[i]));
		}
	}
	return 0;
}

/* Take the status of clients that have ended. Returns how many have not. */
static size_t collect_clients(struct demo *demo)
{
	size_t running = 0;

	for (size_t i = 0; i < demo->clients; i++) {
		int status;

		if (demo->pid[i] <= 0)
			continue;
		if (waitpid(demo->pid[i], &status, WNOHANG) == demo->pid[i]) {
			demo->pid[i] = 0;
			demo->failed += status != 0;
		} else {
			running++;
		}
	}
	return running;
}

static void show_progress(const struct demo *demo, bool again)
{
	if (again)
		printf("\033[%zuA", demo->clients);
	for (size_t i = 0; i < demo->clients; i++) {
		const struct tally *t = &demo->tally[i];

		printf("\033[Kclient %-2zu %8.1f MiB copied and verified, %6.2f GB/s%s\n", i + 1,
		       (double)get(&t->bytes) / (1 << 20),
		       gigabytes_per_second(get(&t->bytes), get(&t->offload_ns)),
		       demo->pid[i] ? "" : "  done");
	}
	fflush(stdout);
}

static void stop_clients(struct demo *demo)
{
	for (size_t i = 0; i < demo->clients; i++)
		if (demo->pid[i] > 0)
			kill(demo->pid[i], SIGKILL);
	while (collect_clients(demo) > 0)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void watch_clients(struct demo *demo)
{
	bool shown = false;

	for (unsigned ticks = 0; !interrupted; ticks++) {
		size_t running = collect_clients(demo);

		if (demo->terminal) {
			show_progress(demo, shown);
			shown = true;
		} else if (ticks % 20 == 10) {
			uint64_t bytes = 0;

			for (size_t i = 0; i < demo->clients; i++)
				bytes += get(&demo->tally[i].bytes);
			printf("%.1f MiB copied and verified\n", (double)bytes / (1 << 20));
			fflush(stdout);
		}
		if (running == 0)
			return;
		nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
	}
	stop_clients(demo);
}

static void print_row(const char *name, const struct tally *t, bool last)
{
	printf("%-8s %9.1f %8llu %9.2f %9.2f %11.3f %10.3f%s\n", name,
	       (double)get(&t->bytes) / (1 << 20), (unsigned long long)get(&t->operations),
	       gigabytes_per_second(get(&t->bytes), get(&t->offload_ns)),
	       gigabytes_per_second(get(&t->bytes), get(&t->inline_ns)),
	       (double)get(&t->offload_cpu_ns) / 1e9, (double)get(&t->inline_cpu_ns) / 1e9,
	       last ? "  (rates: mean of a client)" : "");
}

static void add_up(const struct demo *demo, struct tally *sum)
{
	for (size_t i = 0; i < demo->clients; i++) {
		const struct tally *t = &demo->tally[i];

		sum->bytes += get(&t->bytes);
		sum->operations += get(&t->operations);
		sum->offload_ns += get(&t->offload_ns);
		sum->offload_cpu_ns += get(&t->offload_cpu_ns);
		sum->inline_ns += get(&t->inline_ns);
		sum->inline_cpu_ns += get(&t->inline_cpu_ns);
		sum->offloaded += get(&t->offloaded);
		sum->offloaded_bytes += get(&t->offloaded_bytes);
		sum->small += get(&t->small);
		sum->elsewhere += get(&t->elsewhere);
		sum->wrong += t->wrong;
	}
}

/* CPU seconds that a process has used, all threads; negative if that is not to be seen. */
static double cpu_of(uint32_t pid)
{
	unsigned long user, system;
	char path[64], line[1024];
	double seconds = -1;

	snprintf(path, sizeof path, "/proc/%u/stat", pid);
	FILE *file = fopen(path, "re");
	const char *fields = file && fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;

	/* after the name, proc(5) */
	if (fields && sscanf(fields, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
			     &system) == 2)
		seconds = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
	if (file)
		fclose(file);
	return seconds;
}

/* What the daemon counted, when the clients' sessions have ended. */
static int compare_with_daemon(const struct tally *sum)
{
	struct vdm_status *status = NULL;

	for (unsigned i = 0; i < 1000; i++) {
		free(status);
		if (vdm_status_read(NULL, &status)) {
			fprintf(stderr, "vdm-demo: %s\n", vdm_last_error());
			return -1;
		}
		if (status->sessions == 1) /* ours, which asks */
			break;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	bool same = status->counts.memcpy == sum->offloaded &&
		    status->counts.bytes == sum->offloaded_bytes && status->counts.failed == 0;

	printf("\nvdmd %s (workers: %u) counted %llu copies, %.1f MiB, %llu failures: %s.\n"
	       "The other %llu were too small to be worth the way, and copied by the clients.\n",
	       status->version, status->workers, (unsigned long long)status->counts.memcpy,
	       (double)status->counts.bytes / (1 << 20), (unsigned long long)status->counts.failed,
	       same ? "as the clients did" : "that is NOT what the clients counted",
	       (unsigned long long)sum->small);
	printf("The daemon used %.2f CPU seconds for them.\n", cpu_of(status->pid));
	free(status);
	return same ? 0 : -1;
}

static int report(const struct demo *demo)
{
	struct tally sum = {0};
	char name[24];

	add_up(demo, &sum);
	printf("\n                           ---- GB/s while copying ----  -- client CPU seconds --\n"
	       "client         MiB   copies  offloaded    inline   offloaded     inline\n");
	for (size_t i = 0; i < demo->clients; i++) {
		snprintf(name, sizeof name, "%zu", i + 1);
		print_row(name, &demo->tally[i], false);
	}
	print_row("all", &sum, true);
	int result = compare_with_daemon(&sum);

	if (sum.wrong || sum.elsewhere || demo->failed) {
		printf("%u pieces were wrong, %llu operations did not reach the daemon, %u clients "
		       "failed\n", sum.wrong, (unsigned long long)sum.elsewhere, demo->failed);
		return -1;
	}
	printf("Every byte was compared with its file: all are right.\n");
	if (sum.inline_ns < sum.offload_ns)
		printf("Inline was faster: with %ld CPUs for %zu clients the workers have none to "
		       "themselves.\nWhat offloading gains here is that the clients' threads are free "
		       "meanwhile.\n",
		       sysconf(_SC_NPROCESSORS_ONLN), demo->clients);
	return result;
}

static int run(struct demo *demo)
{
	demo->clients = demo->files.count < CLIENTS_MINIMUM   ? CLIENTS_MINIMUM
			: demo->files.count > CLIENTS_MAXIMUM ? CLIENTS_MAXIMUM
							      : demo->files.count;
	if (demo->clients > CLIENTS_MINIMUM && demo->clients <= DEFAULT_FILES)
		demo->clients = CLIENTS_MINIMUM;
	demo->tally = mmap(NULL, demo->clients * sizeof *demo->tally, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (demo->tally == MAP_FAILED) {
		fprintf(stderr, "vdm-demo: out of memory\n");
		return -1;
	}
	printf("%zu processes copy %zu files through vdmd, and inline, for %u seconds:\n", demo->clients,
	       demo->files.count, demo->seconds);
	for (size_t i = 0; i < demo->files.count; i++)
		printf("  %8.1f MiB  %s\n", (double)demo->files.file[i].size / (1 << 20),
		       demo->files.file[i].path);
	if (start_clients(demo) < 0) {
		stop_clients(demo);
		return -1;
	}
	watch_clients(demo);
	if (interrupted) {
		printf("interrupted\n");
		return -1;
	}
	return report(demo);
}

int main(int argc, char **argv)
{
	static const struct option known[] = {{"seconds", required_argument, NULL, 's'},
					      {"help", no_argument, NULL, 'h'},
					      {0}};
	struct demo demo = {.seconds = DEFAULT_SECONDS, .terminal = isatty(STDOUT_FILENO)};
	int option, result;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		char *end;

		switch (option) {
		case 's':
			demo.seconds = (unsigned)strtoul(optarg, &end, 10);
			if (*end || !*optarg || demo.seconds == 0 || demo.seconds > 3600) {
				fprintf(stderr, "vdm-demo: --seconds has to be from 1 to 3600\n");
				return 2;
			}
			break;
		case 'h':
			printf("Usage: vdm-demo [--seconds N] [FILE]...\n"
			       "Copy files through the daemon at $VDM_SOCKET, and inline, and compare.\n");
			return 0;
		default:
			return 2;
		}
	}
	signal(SIGINT, interrupt);
	signal(SIGTERM, interrupt);
	result = optind < argc ? files_named(&demo.files, argv + optind, (size_t)(argc - optind))
			       : files_largest(&demo.files, "/usr/lib", DEFAULT_FILES);
	if (result == 0)
		result = run(&demo);
	files_free(&demo.files);
	return interrupted ? 128 + interrupted : result < 0;
}
