/* SPDX-License-Identifier: BSD-3-Clause */
#include "report.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The model of the processor, in `model`. */
static void read_model(char model[128])
{
	char line[256];
	FILE *file = fopen("/proc/cpuinfo", "re");

	snprintf(model, 128, "unknown");
	while (file && fgets(line, sizeof line, file)) {
		const char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) != 0 || !colon)
			continue;
		snprintf(model, 128, "%.*s", (int)strcspn(colon + 2, "\n\"\\"), colon + 2);
		break;
	}
	if (file)
		fclose(file);
}

void report_head(const struct experience *alone)
{
	char model[128];

	read_model(model);
	printf("%ld CPUs: %s. Alone: %zu connections, p99 %.1f and worst %.1f ms; %zu copies of "
	       "4 KiB, p50 %.0f and p99 %.0f us.\n",
	       sysconf(_SC_NPROCESSORS_ONLN), model, alone->connects.count, alone->connects.p99_ms,
	       alone->connects.worst_ms, alone->copies.count, alone->copies.p50_ms * 1e3,
	       alone->copies.p99_ms * 1e3);
	printf("MiB and descriptors of the daemon: before, most, after. (b/n: beside n busy "
	       "processes instead of the attack.)\n");
	printf("%-20s %9s | %15s %15s | %17s %17s | %15s %15s | %6s %6s |\n", "", "", "connect, ms",
	       "beside b/n", "copy, us", "beside b/n", "", "", "ms to", "ms to");
	printf("%-20s %9s | %7s %7s %7s %7s | %8s %8s %8s %8s | %15s %15s | %6s %6s |\n", "attack",
	       "rounds", "p99", "worst", "p99", "worst", "p50", "p99", "p50", "p99", "MiB",
	       "descriptors", "TERM", "KILL");
	fflush(stdout);
}

static void milliseconds(double ms, bool applies, char text[16])
{
	if (!applies)
		snprintf(text, 16, "-");
	else if (ms < 0)
		snprintf(text, 16, "never");
	else
		snprintf(text, 16, "%.0f", ms);
}

void report_line(const struct trial *trial, const struct verdict *verdict)
{
	const struct experience *attacked = &trial->attacked, *hogs = &trial->hogs;
	char memory[48], fds[48], term[16], kill[16];

	if (trial->skipped[0]) {
		printf("%-20s skipped: %s\n", trial->attack->name, trial->skipped);
		fflush(stdout);
		return;
	}
	snprintf(memory, sizeof memory, "%.0f %.0f %.0f", trial->before.memory_mib,
		 trial->during.memory_mib, trial->after.memory_mib);
	snprintf(fds, sizeof fds, "%u %u %u", trial->before.fds, trial->during.fds,
		 trial->after.fds);
	milliseconds(trial->ending.term_ms, !trial->crashed, term);
	milliseconds(trial->ending.kill_ms, trial->ending.term_ms < 0, kill);
	printf("%-20s %9llu | %7.1f %7.1f %7.1f %7.1f | %8.0f %8.0f %8.0f %8.0f | %15s %15s | %6s "
	       "%6s | %s\n",
	       trial->attack->name, (unsigned long long)trial->rounds, attacked->connects.p99_ms,
	       attacked->connects.worst_ms, hogs->connects.p99_ms, hogs->connects.worst_ms,
	       attacked->copies.p50_ms * 1e3, attacked->copies.p99_ms * 1e3,
	       hogs->copies.p50_ms * 1e3, hogs->copies.p99_ms * 1e3, memory, fds, term, kill,
	       verdict->failures   ? "FAILED"
	       : verdict->warnings ? "slow"
				   : "held");
	for (unsigned i = 0; i < verdict->failures + verdict->warnings; i++)
		printf("    %s: %s\n", i < verdict->failures ? "failed" : "slow",
		       verdict->findings[i]);
	fflush(stdout);
}

static void json_experience(const char *name, const struct experience *e)
{
	printf("\"%s\": {\"connects\": %zu, \"connect_p50_ms\": %.3f, \"connect_p99_ms\": %.3f, "
	       "\"connect_worst_ms\": %.3f, \"copies\": %zu, \"copy_p50_us\": %.1f, "
	       "\"copy_p99_us\": %.1f, \"copy_worst_us\": %.1f}",
	       name, e->connects.count, e->connects.p50_ms, e->connects.p99_ms,
	       e->connects.worst_ms, e->copies.count, e->copies.p50_ms * 1e3,
	       e->copies.p99_ms * 1e3, e->copies.worst_ms * 1e3);
}

static void json_figures(const char *name, const struct target_figures *f)
{
	printf("\"%s\": {\"memory_mib\": %.1f, \"anonymous_mib\": %.1f, \"descriptors\": %u, "
	       "\"processes\": %u}",
	       name, f->memory_mib, f->anonymous_mib, f->fds, f->processes);
}

/* Text of ours, of the library or of the daemon: printable, but it may have quotes. */
static void json_text(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar((unsigned char)*text < ' ' ? ' ' : *text);
	}
	putchar('"');
}

static void json_findings(const char *name, const struct verdict *verdict, unsigned from,
			  unsigned to)
{
	printf("\"%s\": [", name);
	for (unsigned i = from; i < to; i++) {
		printf("%s", i > from ? ", " : "");
		json_text(verdict->findings[i]);
	}
	printf("]");
}

static void json_trial(const struct trial *trial)
{
	struct verdict verdict = verdict_of(trial);

	printf("{\"attack\": \"%s\", ", trial->attack->name);
	if (trial->skipped[0]) {
		printf("\"skipped\": ");
		json_text(trial->skipped);
		printf("}");
		return;
	}
	printf("\"rounds\": %llu, \"busy\": %u, ", (unsigned long long)trial->rounds,
	       trial->attack->busy);
	json_experience("attacked", &trial->attacked);
	printf(", ");
	json_experience("hogs", &trial->hogs);
	printf(", ");
	json_figures("before", &trial->before);
	printf(", ");
	json_figures("during", &trial->during);
	printf(", ");
	json_figures("after", &trial->after);
	printf(", \"settled_ms\": %.0f, \"term_ms\": %.0f, \"kill_ms\": %.0f, ", trial->settled_ms,
	       trial->ending.term_ms, trial->ending.kill_ms);
	json_findings("failed", &verdict, 0, verdict.failures);
	printf(", ");
	json_findings("slow", &verdict, verdict.failures, verdict.failures + verdict.warnings);
	printf("}");
}

void report_json(const struct experience *alone, const struct trial *trials, unsigned count)
{
	char model[128];

	read_model(model);
	printf("{\"cpu\": \"%s\", \"cpus\": %ld, ", model, sysconf(_SC_NPROCESSORS_ONLN));
	json_experience("alone", alone);
	printf(", \"attacks\": [\n");
	for (unsigned i = 0; i < count; i++) {
		json_trial(&trials[i]);
		printf("%s\n", i + 1 < count ? "," : "");
	}
	printf("]}\n");
}
