/* SPDX-License-Identifier: BSD-3-Clause */
/* vdm-demo: what offloading to the daemon at $VDM_SOCKET gains, and what it does not; see
 * ../../demo. */
#include "demo.h"

#include <getopt.h>
#include <libvdm.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_FILES   8
#define DEFAULT_SECONDS 10

struct demo {
	struct files files;
	unsigned seconds;
	unsigned cpus, workers;
	clockid_t daemon_clock;
	uint64_t verified; /* bytes */
};

/* The CPUs that this process and its daemon may use. */
static unsigned cpus_allowed(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

static int ask_daemon(struct demo *demo)
{
	struct vdm_status *status;

	if (vdm_status_read(NULL, &status)) {
		fprintf(stderr, "vdm-demo: %s\n", vdm_last_error());
		return -1;
	}
	int error = clock_getcpuclockid((pid_t)status->pid, &demo->daemon_clock);

	demo->workers = status->workers;
	free(status);
	if (error)
		fprintf(stderr, "vdm-demo: the daemon's CPU time cannot be read\n");
	return error ? -1 : 0;
}

static int play(struct demo *demo, size_t clients, bool cpu_left, double seconds)
{
	struct scene scene = {.files = &demo->files,
			      .clients = clients < CLIENTS_MAXIMUM ? clients : CLIENTS_MAXIMUM,
			      .duration_ns = (uint64_t)(seconds * 1e9),
			      .daemon_clock = demo->daemon_clock};

	scene.bytes = client_bytes(scene.clients);
	printf("\n%zu client%s on %u CPU%s (workers of the daemon: %u). %s\n\n", scene.clients,
	       scene.clients == 1 ? "" : "s", demo->cpus, demo->cpus == 1 ? "" : "s", demo->workers,
	       cpu_left ? "Each leaves a CPU to a worker." : "No CPU is left to a worker.");
	fflush(stdout);
	int result = scene_run(&scene);

	if (result == 0) {
		report_scene(&scene, cpu_left);
		demo->verified +=
			(uint64_t)WAYS * scene.stage->rounds * scene.clients * scene.bytes;
	}
	scene_end(&scene);
	return result;
}

static int run(struct demo *demo)
{
	demo->cpus = cpus_allowed();
	if (ask_daemon(demo) < 0)
		return -1;

	/* So many clients can each have a CPU, and leave one to a worker. */
	size_t idle = demo->cpus > demo->workers ? demo->cpus - demo->workers : 0;
	size_t gaining = idle < demo->workers ? idle : demo->workers;

	report_work(&demo->files);
	if (gaining == 0)
		printf("\nThere is no CPU to gain here: a client that computes leaves none to the "
		       "daemon.\n");
	else if (play(demo, gaining, true, demo->seconds / 2.0) < 0)
		return -1;
	if (play(demo, 2 * (size_t)demo->cpus, false,
		 gaining ? demo->seconds / 2.0 : demo->seconds) < 0)
		return -1;
	printf("\n%.1f GiB were copied. Every byte was compared with the files: all are right.\n",
	       (double)demo->verified / (1 << 30));
	return 0;
}

static int parse(struct demo *demo, int argc, char **argv)
{
	static const struct option known[] = {
		{"seconds", required_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'}, {0}};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		char *end;

		switch (option) {
		case 's':
			demo->seconds = (unsigned)strtoul(optarg, &end, 10);
			if (*end || !*optarg || demo->seconds == 0 || demo->seconds > 600) {
				fprintf(stderr, "vdm-demo: --seconds has to be from 1 to 600\n");
				exit(2);
			}
			break;
		case 'h':
			printf("Usage: vdm-demo [--seconds N] [FILE]...\n"
			       "Copy files and compute checksums, inline and with the daemon at "
			       "$VDM_SOCKET,\n"
			       "and compare the times.\n");
			exit(0);
		default:
			exit(2);
		}
	}
	return optind < argc ? files_named(&demo->files, argv + optind, (size_t)(argc - optind))
			     : files_largest(&demo->files, "/usr/lib", DEFAULT_FILES);
}

int main(int argc, char **argv)
{
	struct demo demo = {.seconds = DEFAULT_SECONDS};
	bool failed = parse(&demo, argc, argv) < 0 || run(&demo) < 0;

	files_close(&demo.files);
	return failed;
}
