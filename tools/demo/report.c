/* SPDX-License-Identifier: BSD-3-Clause */
/* What the rounds of a scene show, in a table and in sentences that claim no more than that. */
#include "demo.h"

#include <stdio.h>
#include <stdlib.h>

#define MIB ((double)(1 << 20))
#define GIB ((double)(1 << 30))

/* CPUs in use by other programs that are worth a sentence. */
#define OTHERS_CPUS 0.2

struct row {
	double elapsed, client_cpu, daemon_cpu; /* ms for a GiB, medians of all rounds */
};

struct comparison {
	double change; /* of elapsed time by offloading, median of all rounds: -0.2 is 20 % less */
	unsigned faster; /* rounds in which offloading took less time */
	bool certain;    /* whether that is more than chance */
};

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static double median(double *values, size_t count)
{
	qsort(values, count, sizeof *values, compare);
	return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

static struct row row_of(const struct scene *scene, enum way way)
{
	static double elapsed[ROUNDS_MAXIMUM], client[ROUNDS_MAXIMUM], daemon[ROUNDS_MAXIMUM];
	double ns_to_ms_per_gib = GIB / ((double)scene->bytes * (double)scene->clients) / 1e6;
	unsigned rounds = scene->stage->rounds;

	for (unsigned i = 0; i < rounds; i++) {
		const struct sample *sample = &scene->stage->sample[i][way];

		elapsed[i] = (double)sample->elapsed_ns * ns_to_ms_per_gib;
		client[i] = (double)sample->client_cpu_ns * ns_to_ms_per_gib;
		daemon[i] = (double)sample->daemon_cpu_ns * ns_to_ms_per_gib;
	}
	return (struct row){median(elapsed, rounds), median(client, rounds),
			    median(daemon, rounds)};
}

/* Round by round: the ways of one round met the same bytes and the same machine. */
static struct comparison compare_ways(const struct scene *scene, enum way in_line)
{
	static double changes[ROUNDS_MAXIMUM];
	struct comparison result = {0};
	unsigned rounds = scene->stage->rounds;

	for (unsigned i = 0; i < rounds; i++) {
		const struct sample *sample = scene->stage->sample[i];

		changes[i] =
			(double)sample[OFFLOADED].elapsed_ns / (double)sample[in_line].elapsed_ns -
			1;
		result.faster += changes[i] < 0;
	}
	/* The sign test: without a difference, each round is the toss of a coin. In one of 100
	 * series of tosses the heads are further than 2.58 standard deviations (half the root of
	 * the rounds) from their mean. */
	double deviations = 2.58;
	double distance = 2.0 * result.faster - rounds;

	result.change = median(changes, rounds);
	result.certain = distance * distance > deviations * deviations * rounds;
	return result;
}

void report_work(const struct files *files)
{
	printf("%s%s (%zu file%s, %.1f MiB)\n\n"
	       "Each client copies these bytes piece by piece, and computes the checksum of each\n"
	       "copy (Fletcher-4, by which ZFS recognises damaged blocks).\n"
	       "Inline, the client's thread does both. It copies with memcpy(3), or with libvdm's\n"
	       "streaming kernel, which writes around the caches. Offloaded, the daemon copies "
	       "with\n"
	       "that kernel while the client computes. Each round does the same work in all three\n"
	       "ways, and verifies every byte while the clock stands.\n",
	       files->file[0].path, files->count == 1 ? "" : ", ...", files->count,
	       files->count == 1 ? "" : "s", (double)files->bytes / MIB);
}

static void print_table(const struct row *rows, unsigned rounds)
{
	static const char *const name[WAYS] = {"inline, memcpy", "inline, streaming",
					       "offloaded, streaming"};

	printf("  %-22s %8s %11s %11s %8s\n", "ms for each GiB", "elapsed", "client CPU",
	       "daemon CPU", "GB/s");
	for (unsigned way = 0; way < WAYS; way++)
		printf("  %-22s %8.0f %11.0f %11.0f %8.2f\n", name[way], rows[way].elapsed,
		       rows[way].client_cpu, rows[way].daemon_cpu, GIB / rows[way].elapsed / 1e6);
	printf("  (medians of %u rounds)\n", rounds);
}

static void print_time(const struct comparison *found, unsigned rounds)
{
	double percent = 100 * (found->change < 0 ? -found->change : found->change);

	if (found->certain)
		printf("Offloading was %s: it took %.0f %% %s time than the better inline way. It "
		       "was\n"
		       "faster in %u of %u rounds.\n",
		       found->change < 0 ? "faster" : "slower", percent,
		       found->change < 0 ? "less" : "more", found->faster, rounds);
	else
		printf("These rounds are too few to tell it from the better inline way: offloading\n"
		       "was faster in %u of %u.\n",
		       found->faster, rounds);
}

static void print_cpu(const struct row *offloaded, const struct row *in_line)
{
	double saved = in_line->client_cpu - offloaded->client_cpu;

	printf("For each GiB it %s %.0f ms of client CPU time, and used %.0f ms in the daemon.\n",
	       saved > 0 ? "saved" : "cost", saved > 0 ? saved : -saved, offloaded->daemon_cpu);
}

static void print_taken_back(const struct scene *scene)
{
	uint64_t offloaded = 0, taken_back = 0;

	for (size_t i = 0; i < scene->clients; i++) {
		offloaded += scene->stage->account[i].offloaded;
		taken_back += scene->stage->account[i].taken_back;
	}
	printf("The daemon made %.0f %% of the offloaded copies; waiting clients made the rest.\n",
	       100 - 100 * (double)taken_back / (double)offloaded);
}

void report_scene(const struct scene *scene, bool cpu_left)
{
	struct row rows[WAYS];

	for (unsigned way = 0; way < WAYS; way++)
		rows[way] = row_of(scene, (enum way)way);

	enum way in_line =
		rows[INLINE].elapsed < rows[INLINE_STREAMING].elapsed ? INLINE : INLINE_STREAMING;
	struct comparison found = compare_ways(scene, in_line);

	print_table(rows, scene->stage->rounds);
	print_time(&found, scene->stage->rounds);
	print_cpu(&rows[OFFLOADED], &rows[in_line]);
	print_taken_back(scene);
	if (scene->others_cpus >= OTHERS_CPUS)
		printf("Other programs kept %.1f CPUs busy, and left less to the daemon.\n",
		       scene->others_cpus);
	if (!cpu_left && found.change >= 0)
		printf("Where clients keep every CPU busy, nothing is gained.\n");
}
