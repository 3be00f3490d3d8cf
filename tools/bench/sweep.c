/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes and depths in steps, with the number of processes and the way of waiting that are asked
 * for. */
#include "crowd.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COLD_BYTES ((size_t)256 << 20) /* of all processes together, each side */

/* first,last,step: a step of +n adds, one of *n multiplies. */
struct range {
	unsigned long first, last, step;
	int multiplies;
};

enum format { TEXT, CSV, JSON };

struct sweep {
	struct range sizes, depths;
	unsigned processes;
	unsigned milliseconds; /* for each line */
	int cold;
	enum format format;
	struct job job;
	struct crowd *crowd;
	unsigned lines;
};

static unsigned long parse_number(const char *text, char **end)
{
	unsigned long n = strtoul(text, end, 10);

	if (*end == text)
		return 0;
	if (**end == 'K' || **end == 'M') {
		n <<= **end == 'K' ? 10 : 20;
		(*end)++;
	}
	return n;
}

/* Returns 0, or -1 if it makes no sense. */
static int parse_range(const char *text, unsigned long most, struct range *range)
{
	char *end;

	range->first = parse_number(text, &end);
	range->last = range->first;
	range->step = 1;
	range->multiplies = 0;
	if (*end == ',') {
		range->last = parse_number(end + 1, &end);
		if (end[0] != ',' || (end[1] != '+' && end[1] != '*'))
			return -1;
		range->multiplies = end[1] == '*';
		range->step = parse_number(end + 2, &end);
	}
	return *end || range->first == 0 || range->last < range->first || range->last > most ||
			       range->step < (range->multiplies ? 2u : 1u)
		       ? -1
		       : 0;
}

static unsigned long next(const struct range *range, unsigned long value)
{
	return range->multiplies ? value * range->step : value + range->step;
}

static void print_line(struct sweep *sweep, double daemon_cpu_s)
{
	static const char *const formats[] = {
		[TEXT] = "%9zu %6u %9.2f %9.3f %9.0f %9.0f %9.0f %9.3f %9.3f\n",
		[CSV] = "%zu,%u,%.3f,%.4f,%.0f,%.0f,%.0f,%.4f,%.4f\n",
		[JSON] =
			"{\"size\": %zu, \"depth\": %u, \"gbps\": %.3f, \"mops\": %.4f, \"p50_ns\": %.0f, "
			"\"p99_ns\": %.0f, \"p999_ns\": %.0f, \"client_cpu_s\": %.4f, "
			"\"daemon_cpu_s\": %.4f}",
	};
	const struct crowd *crowd = sweep->crowd;
	unsigned n = sweep->processes;
	double client_cpu_s = 0;

	for (unsigned i = 0; i < n; i++)
		client_cpu_s += crowd->result[i].cpu_s;
	if (sweep->lines == 0 && sweep->format == TEXT)
		printf("     size  depth      GB/s     Mop/s    p50 ns    p99 ns  p99.9 ns  client s  "
		       "daemon s\n");
	if (sweep->lines == 0 && sweep->format == CSV)
		printf("size,depth,gbps,mops,p50_ns,p99_ns,p999_ns,client_cpu_s,daemon_cpu_s\n");
	if (sweep->format == JSON)
		printf(sweep->lines == 0 ? "{\"schema\": 1, \"sweep\": [\n" : ",\n");
	printf(formats[sweep->format], sweep->job.size, sweep->job.depth, crowd_gbps(crowd, n),
	       crowd_mops(crowd, n), crowd_latency(crowd, n, 500), crowd_latency(crowd, n, 990),
	       crowd_latency(crowd, n, 999), client_cpu_s, daemon_cpu_s);
	fflush(stdout);
	sweep->lines++;
}

static void run_sweep(struct sweep *sweep)
{
	struct job *job = &sweep->job;

	for (unsigned long size = sweep->sizes.first; size <= sweep->sizes.last;
	     size = next(&sweep->sizes, size)) {
		for (unsigned long depth = sweep->depths.first; depth <= sweep->depths.last;
		     depth = next(&sweep->depths, depth)) {
			size_t cold = COLD_BYTES / sweep->processes;

			job->size = size;
			job->depth = (unsigned)depth;
			/* warm: as little memory as the operations in flight need, so that none
			 * overlap */
			job->set = sweep->cold && cold > size * depth ? cold : size * depth;
			double before = daemon_cpu_s(job->bench);

			crowd_run(job, sweep->crowd, sweep->processes);
			print_line(sweep, daemon_cpu_s(job->bench) - before);
		}
	}
	if (sweep->format == JSON)
		printf("\n]}\n");
}

void sweep_help(void)
{
	printf("vdm-bench sweep: copy in many sizes and depths, and print a line for each.\n\n"
	       "  --sizes FIRST,LAST,STEP   bytes of a copy; STEP is +n or *n (64,16M,*4)\n"
	       "  --depths FIRST,LAST,STEP  copies in flight (1)\n"
	       "  --processes N             that copy at the same time (1)\n"
	       "  --wait MODE               spin, sleep, peek or poll (spin)\n"
	       "  --verify                  compare every byte\n"
	       "  --cold                    go through memory that no cache holds\n"
	       "  --inline                  memcpy in the processes instead\n"
	       "  --milliseconds N          for each line (200)\n"
	       "  --format FORMAT           text, csv or json (text)\n"
	       "  --socket PATH             measure this daemon; default: a private one\n");
}

static int bad(const char *what, const char *value, const char *right)
{
	fprintf(stderr, "vdm-bench: %s \"%s\": it has to be %s\nTry 'vdm-bench sweep --help'.\n",
		what, value, right);
	return 2;
}

/* Position of a word in a list, or -1. */
static int find(const char *word, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(words[i], word))
			return i;
	return -1;
}

int sweep_main(struct bench *bench, int argc, char **argv)
{
	enum {
		SIZES = 1,
		DEPTHS,
		PROCESSES,
		WAIT,
		VERIFY,
		COLD,
		INLINE_COPY,
		MILLISECONDS,
		FORMAT,
		SOCKET,
		HELP
	};
	static const struct option known[] = {
		{"sizes", required_argument, NULL, SIZES},
		{"depths", required_argument, NULL, DEPTHS},
		{"processes", required_argument, NULL, PROCESSES},
		{"wait", required_argument, NULL, WAIT},
		{"verify", no_argument, NULL, VERIFY},
		{"cold", no_argument, NULL, COLD},
		{"inline", no_argument, NULL, INLINE_COPY},
		{"milliseconds", required_argument, NULL, MILLISECONDS},
		{"format", required_argument, NULL, FORMAT},
		{"socket", required_argument, NULL, SOCKET},
		{"help", no_argument, NULL, HELP},
		{0},
	};
	static const char *const waits[] = {"spin", "sleep", "peek", "poll", NULL};
	static const char *const formats[] = {"text", "csv", "json", NULL};
	struct sweep sweep = {
		.processes = 1, .milliseconds = 200, .job = {.bench = bench, .threshold = 1}};
	const char *socket = NULL;
	int option, found;
	char *end, name[] = "vdm-bench sweep";

	argv[0] = name; /* for messages of getopt_long(3) */
	parse_range("64,16M,*4", 1 << 30, &sweep.sizes);
	parse_range("1", BENCH_MAX_DEPTH, &sweep.depths);
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case SIZES:
			if (parse_range(optarg, 1 << 30, &sweep.sizes) < 0)
				return bad("--sizes", optarg,
					   "first,last,+n or first,last,*n, up to 1024M");
			break;
		case DEPTHS:
			if (parse_range(optarg, BENCH_MAX_DEPTH, &sweep.depths) < 0)
				return bad("--depths", optarg,
					   "first,last,+n or first,last,*n, up to 4096");
			break;
		case PROCESSES:
			sweep.processes = (unsigned)strtoul(optarg, &end, 10);
			if (*end || sweep.processes < 1 || sweep.processes > BENCH_MAX_PROCESSES)
				return bad("--processes", optarg, "from 1 to 64");
			break;
		case WAIT:
			found = find(optarg, waits);
			if (found < 0)
				return bad("--wait", optarg, "spin, sleep, peek or poll");
			sweep.job.wait = (enum wait_mode)found;
			break;
		case VERIFY:
			sweep.job.verify = 1;
			break;
		case COLD:
			sweep.cold = 1;
			break;
		case INLINE_COPY:
			sweep.job.way = INLINE;
			break;
		case MILLISECONDS:
			sweep.milliseconds = (unsigned)strtoul(optarg, &end, 10);
			if (*end || sweep.milliseconds < 1 || sweep.milliseconds > 60000)
				return bad("--milliseconds", optarg, "from 1 to 60000");
			break;
		case FORMAT:
			found = find(optarg, formats);
			if (found < 0)
				return bad("--format", optarg, "text, csv or json");
			sweep.format = (enum format)found;
			break;
		case SOCKET:
			socket = optarg;
			break;
		case HELP:
			sweep_help();
			return 0;
		default:
			fprintf(stderr, "Try 'vdm-bench sweep --help'.\n");
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr,
			"vdm-bench: \"%s\" is not expected\nTry 'vdm-bench sweep --help'.\n",
			argv[optind]);
		return 2;
	}
	sweep.job.ns = sweep.milliseconds * 1000000ull;
	sweep.job.pinned = sweep.processes == 1;
	sweep.crowd = crowd_open();
	harness_start(bench, socket);
	if (sweep.processes > 1)
		harness_unpin_daemon();
	run_sweep(&sweep);
	crowd_close(sweep.crowd);
	harness_stop(bench);
	return 0;
}
