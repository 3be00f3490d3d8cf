/* SPDX-License-Identifier: BSD-3-Clause */
/* Measure a daemon against what a program could do without one, all in one run: only ratios mean much. */
#include "bench.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_USAGE = 2 };

static void print_help(void)
{
	printf("Usage: vdm-bench [suite] [--quick] [--json] [--socket PATH]\n"
	       "       vdm-bench sweep [OPTION]...\n"
	       "Measure offload against an in-process pool and plain memcpy.\n\n"
	       "  --quick        shorter runs\n"
	       "  --json         print one JSON object\n"
	       "  --socket PATH  measure this daemon; default: a private one, started for the run\n"
	       "  --help         print this and exit\n"
	       "  --version      print the version and exit\n\n"
);
	sweep_help();
	printf("\nExit status: 0 success, 1 no daemon or a failed operation, 2 wrong usage.\n"
	       "See vdm-bench(1).\n");
}

static int bad_usage(void)
{
	fprintf(stderr, "Try 'vdm-bench --help'.\n");
	return EXIT_USAGE;
}

static void run_suite(struct bench *bench, const char *socket, int json)
{
	harness_start(bench, socket);
	json_begin(json);
	measure_pingpong(bench);
	measure_latency(bench);
	measure_rate(bench);
	measure_submit(bench);
	measure_bandwidth(bench);
	measure_overlap(bench);
	measure_breakeven(bench);
	measure_future(bench);
	measure_mover(bench);
	measure_wake(bench);
	measure_idle(bench);
	/* from here on the daemon's workers may go anywhere */
	measure_saturated(bench);
	measure_clients(bench);
	json_end();
	harness_stop(bench);
}

int main(int argc, char **argv)
{
	enum { QUICK = 1, JSON, SOCKET, HELP, VERSION };
	static const struct option known[] = {
		{"quick", no_argument, NULL, QUICK},   {"json", no_argument, NULL, JSON},
		{"socket", required_argument, NULL, SOCKET}, {"help", no_argument, NULL, HELP},
		{"version", no_argument, NULL, VERSION}, {0},
	};
	struct bench bench = {.client_cpu = 0, .workers = 1};
	const char *socket = NULL;
	int json = 0;
	int option;

	bench.worker_cpu = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 1 : 0;
	if (argc > 1 && !strcmp(argv[1], "sweep"))
		return sweep_main(&bench, argc - 1, argv + 1);
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case QUICK:
			bench.quick = 1;
			break;
		case JSON:
			json = 1;
			break;
		case SOCKET:
			socket = optarg;
			break;
		case HELP:
			print_help();
			return 0;
		case VERSION:
			printf("vdm-bench %s\n", VDM_VERSION);
			return 0;
		default:
			return bad_usage();
		}
	}
	if (optind < argc && (optind + 1 < argc || strcmp(argv[optind], "suite"))) {
		fprintf(stderr, "vdm-bench: \"%s\" is not expected; the commands are \"suite\" and \"sweep\"\n",
			argv[argc - 1]);
		return bad_usage();
	}
	run_suite(&bench, socket, json);
	return fflush(stdout) || ferror(stdout) ? 1 : 0;
}
