/* SPDX-License-Identifier: BSD-3-Clause */
/* Measure a daemon against what a program can do without one, all in one run, because only ratios
 * mean much. */
#include "bench.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_USAGE = 2 };

static void print_help(void)
{
	printf("Usage: vdm-bench [suite] [--quick] [--json] [--only NAME] [--socket PATH]\n"
	       "       vdm-bench sweep [OPTION]...\n"
	       "       vdm-bench file [--quick] [--json] [--directory PATH]\n"
	       "Measure offload against an in-process pool and plain memcpy.\n\n"
	       "  --quick        shorter runs\n"
	       "  --json         print one JSON object\n"
	       "  --only NAME    one measurement: pingpong, latency, rate, submit, bandwidth, overlap,\n"
	       "                 breakeven, future, mover, wake, idle, saturated or clients\n"
	       "  --socket PATH  measure this daemon; default: a private one, started for the run\n"
	       "  --help         print this and exit\n"
	       "  --version      print the version and exit\n\n");
	sweep_help();
	printf("\n");
	file_help();
	printf("\nExit status: 0 success, 1 no daemon or a failed operation, 2 wrong usage.\n"
	       "See vdm-bench(1).\n");
}

static int bad_usage(void)
{
	fprintf(stderr, "Try 'vdm-bench --help'.\n");
	return EXIT_USAGE;
}

static const struct {
	const char *name;
	void (*measure)(struct bench *bench);
} measurements[] = {
	{"pingpong", measure_pingpong},
	{"latency", measure_latency},
	{"rate", measure_rate},
	{"submit", measure_submit},
	{"bandwidth", measure_bandwidth},
	{"overlap", measure_overlap},
	{"breakeven", measure_breakeven},
	{"future", measure_future},
	{"mover", measure_mover},
	{"wake", measure_wake},
	{"idle", measure_idle},
	/* in these the daemon's workers may run on any CPU, and they stay there afterwards */
	{"saturated", measure_saturated},
	{"clients", measure_clients},
};
enum { MEASUREMENTS = sizeof measurements / sizeof *measurements };

static int is_measurement(const char *name)
{
	for (size_t i = 0; i < MEASUREMENTS; i++)
		if (!strcmp(measurements[i].name, name))
			return 1;
	return 0;
}

static void run_suite(struct bench *bench, const char *socket, int json, const char *only)
{
	harness_start(bench, socket);
	json_begin(json);
	for (size_t i = 0; i < MEASUREMENTS; i++)
		if (!only || !strcmp(measurements[i].name, only))
			measurements[i].measure(bench);
	json_end();
	harness_stop(bench);
}

int main(int argc, char **argv)
{
	enum { QUICK = 1, JSON, ONLY, SOCKET, HELP, VERSION };
	static const struct option known[] = {
		{"quick", no_argument, NULL, QUICK},
		{"json", no_argument, NULL, JSON},
		{"only", required_argument, NULL, ONLY},
		{"socket", required_argument, NULL, SOCKET},
		{"help", no_argument, NULL, HELP},
		{"version", no_argument, NULL, VERSION},
		{0},
	};
	struct bench bench = {.client_cpu = 0, .workers = 1};
	const char *socket = NULL, *only = NULL;
	int json = 0;
	int option;

	bench.worker_cpu = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 1 : 0;
	if (argc > 1 && !strcmp(argv[1], "sweep"))
		return sweep_main(&bench, argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "file"))
		return file_main(&bench, argc - 1, argv + 1);
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case QUICK:
			bench.quick = 1;
			break;
		case JSON:
			json = 1;
			break;
		case ONLY:
			only = optarg;
			if (is_measurement(only))
				break;
			fprintf(stderr, "vdm-bench: there is no measurement \"%s\"\n", only);
			return bad_usage();
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
		fprintf(stderr,
			"vdm-bench: \"%s\" is not expected; the commands are \"suite\", \"sweep\" and "
			"\"file\"\n",
			argv[argc - 1]);
		return bad_usage();
	}
	run_suite(&bench, socket, json, only);
	return fflush(stdout) || ferror(stdout) ? 1 : 0;
}
