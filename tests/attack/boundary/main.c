/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * attack_boundary [--list] [--only NAME]... [--seconds N] [--strict] [--json]: attacks on the
 * boundary between the daemon and clients of other users, one after the other. Each has a daemon of
 * its own, and an honest client that is measured alone, beside as many busy processes as the attack
 * has, and beside the attack. While the attack goes on, the daemon is told to end.
 *
 * Fails if the honest client gets wrong bytes, a refusal or no answer, if the daemon crashes, does
 * not end, or keeps memory or descriptors. --strict: also if it is delayed grossly.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "integration/check.h"
#include "integration/scale.h"
#include "report.h"
#include "trial.h"
#include "verdict.h"

#define MOST_TRIALS 64
#define MOST_BUSY   64

struct run {
	double seconds;
	bool json, strict;
	const char *only[MOST_TRIALS];
	unsigned only_count;
	struct target target;
	struct honest honest;
	struct experience controls[MOST_BUSY + 1]; /* by busy processes; no connects: unknown */
	struct trial trials[MOST_TRIALS];
	unsigned trial_count;
};

static void list(void)
{
	for (const struct attack *a = attacks; a->name; a++)
		printf("%-20s %s\n", a->name, a->summary);
}

static bool is_wanted(const struct run *run, const char *name)
{
	for (unsigned i = 0; i < run->only_count; i++)
		if (strcmp(run->only[i], name) == 0)
			return true;
	return run->only_count == 0;
}

static const struct experience *control(struct run *run, unsigned busy)
{
	CHECK(busy <= MOST_BUSY, "%u busy processes", busy);
	if (run->controls[busy].connects.count == 0)
		run->controls[busy] = trial_control(&run->target, &run->honest, busy, run->seconds);
	return &run->controls[busy];
}

/* Returns whether the attack was withstood. */
static bool run_one(struct run *run, const struct attack *attack)
{
	CHECK(run->trial_count < MOST_TRIALS, "too many attacks");
	struct trial *trial = &run->trials[run->trial_count++];

	guard_against_hanging(60 + (unsigned)run->seconds);
	*trial = (struct trial){
		.attack = attack, .alone = *control(run, 0), .hogs = *control(run, attack->busy)};
	trial_run(trial, &run->target, &run->honest, run->seconds);

	struct verdict verdict = verdict_of(trial);

	if (!run->json)
		report_line(trial, &verdict);
	return verdict.failures == 0 && (!run->strict || verdict.warnings == 0);
}

/* Returns whether all attacks were withstood. */
static bool run_all(struct run *run)
{
	bool held = true;

	target_prepare(&run->target);
	attackers_init(run->seconds);
	if (!run->json)
		report_head(control(run, 0));
	for (const struct attack *a = attacks; a->name; a++)
		if (is_wanted(run, a->name) && !run_one(run, a))
			held = false;
	if (run->json)
		report_json(control(run, 0), run->trials, run->trial_count);
	target_remove(&run->target);
	return held;
}

static bool exists(const char *name)
{
	for (const struct attack *a = attacks; a->name; a++)
		if (strcmp(a->name, name) == 0)
			return true;
	return false;
}

/* Returns a status to exit with, or -1 to go on. */
static int read_options(int argc, char **argv, struct run *run)
{
	static const struct option known[] = {
		{"list", no_argument, NULL, 'l'},          {"only", required_argument, NULL, 'o'},
		{"seconds", required_argument, NULL, 's'}, {"strict", no_argument, NULL, 'S'},
		{"json", no_argument, NULL, 'j'},          {0}};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 'l':
			list();
			return 0;
		case 'o':
			if (!exists(optarg) || run->only_count == MOST_TRIALS) {
				fprintf(stderr, "there is no attack %s: see --list\n", optarg);
				return 2;
			}
			run->only[run->only_count++] = optarg;
			break;
		case 's':
			run->seconds = strtod(optarg, NULL);
			break;
		case 'S':
			run->strict = true;
			break;
		case 'j':
			run->json = true;
			break;
		default:
			return 2;
		}
	}
	return -1;
}

int main(int argc, char **argv)
{
	static struct run run;

	run.seconds = 1;
	int status = read_options(argc, argv, &run);

	if (status >= 0)
		return status;
	if (geteuid() != 0) {
		printf("skipped: only root can be several users\n");
		return 77;
	}
	/* orphans of attackers and of the daemon become children of this process */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return run_all(&run) ? 0 : 1;
}
