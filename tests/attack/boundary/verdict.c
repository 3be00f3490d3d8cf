/* SPDX-License-Identifier: BSD-3-Clause */
#include "verdict.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>

#include "integration/scale.h"

/* What an honest connection may take, if busy processes alone do not make it take longer. */
#define GROSS_MS    50
#define GROSS_TIMES 5

/* What the daemon should need to end. */
#define END_SOON_MS 2000

/* A quarter of MemoryMax= of the shipped unit, beyond which the kernel kills the service. */
#define MOST_MIB 1024

static void find(struct verdict *verdict, unsigned *counter, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void find(struct verdict *verdict, unsigned *counter, const char *format, ...)
{
	unsigned found = verdict->failures + verdict->warnings;
	va_list arguments;

	if (found >= MOST_FINDINGS)
		return;
	va_start(arguments, format);
	vsnprintf(verdict->findings[found], sizeof verdict->findings[found], format, arguments);
	va_end(arguments);
	++*counter;
}

static void describe_status(int status, char text[32])
{
	if (WIFSIGNALED(status))
		snprintf(text, 32, "signal %d", WTERMSIG(status));
	else
		snprintf(text, 32, "status %d", WEXITSTATUS(status));
}

static void judge_honest(struct verdict *verdict, const struct trial *trial)
{
	const struct honest_faults *faults = &trial->faults;

	if (faults->wrong)
		find(verdict, &verdict->failures, "%u copies had wrong bytes: %s", faults->wrong,
		     faults->first);
	if (faults->refused || faults->local)
		find(verdict, &verdict->failures, "the honest client failed %u times: %s",
		     faults->refused + faults->local, faults->first);
	if (trial->hangs)
		find(verdict, &verdict->failures,
		     "the honest client still hangs 10 s after the attack");
	if (trial->attacked.copies.count == 0)
		find(verdict, &verdict->failures, "nothing was copied");
}

static void judge_daemon(struct verdict *verdict, const struct trial *trial)
{
	const struct target_figures *before = &trial->before, *after = &trial->after;

	const unsigned most = trial->attack->most_mib ? trial->attack->most_mib : MOST_MIB;

	/* sanitizers keep memory for themselves */
	if (!is_sanitized() && trial->during.memory_mib > most)
		find(verdict, &verdict->failures,
		     "the daemon was charged for %.0f MiB: at most %u are to be expected",
		     trial->during.memory_mib, most);
	if (trial->settled_ms < 0 && (after->fds > before->fds || !is_sanitized()))
		find(verdict, &verdict->failures,
		     "10 s later the daemon has %u descriptors and %.0f MiB: %u and %.0f before",
		     after->fds, after->memory_mib, before->fds, before->memory_mib);
}

static void judge_ending(struct verdict *verdict, const struct trial *trial)
{
	const struct ending *ending = &trial->ending;
	char how[32];

	describe_status(ending->status, how);
	if (ending->term_ms < 0 && ending->kill_ms < 0)
		find(verdict, &verdict->failures, "neither SIGTERM nor SIGKILL ended the daemon%s",
		     ending->left ? ", nor did the end of the attack" : "");
	else if (ending->term_ms < 0)
		find(verdict, &verdict->failures,
		     "SIGTERM did not end the daemon within %d s; SIGKILL did after %.0f ms",
		     END_LIMIT_MS / 1000, ending->kill_ms);
	else if (ending->status != 0)
		find(verdict, &verdict->failures, "the daemon ended with %s after SIGTERM", how);
	else if (ending->left)
		find(verdict, &verdict->failures, "a process of the daemon did not end");
}

static void judge_times(struct verdict *verdict, const struct trial *trial)
{
	const struct summary *connects = &trial->attacked.connects;
	double gross_ms = GROSS_TIMES * trial->hogs.connects.worst_ms;

	if (gross_ms < GROSS_MS)
		gross_ms = GROSS_MS;
	if (connects->worst_ms > gross_ms)
		find(verdict, &verdict->warnings,
		     "an honest connection took %.0f ms: at most %.0f are to be expected",
		     connects->worst_ms, gross_ms);
	if (trial->ending.term_ms > END_SOON_MS)
		find(verdict, &verdict->warnings, "the daemon ended %.0f ms after SIGTERM",
		     trial->ending.term_ms);
}

struct verdict verdict_of(const struct trial *trial)
{
	struct verdict verdict = {0};
	char how[32];

	if (trial->skipped[0])
		return verdict;
	if (trial->crashed) {
		describe_status(trial->ending.status, how);
		find(&verdict, &verdict.failures, "the daemon ended during the attack: %s", how);
		return verdict;
	}
	judge_honest(&verdict, trial);
	judge_daemon(&verdict, trial);
	judge_ending(&verdict, trial);
	judge_times(&verdict, trial);
	return verdict;
}
