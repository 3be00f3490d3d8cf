/* SPDX-License-Identifier: BSD-3-Clause */
#include "trial.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "integration/check.h"

/* How long attackers may take to get everything in place. */
#define READY_MS 60000

/* How long the honest client and the daemon may take after an attack. */
#define SETTLE_MS 10000

/* What allocators and caches keep: threads' stacks, slabs, arenas. */
#define KEPT_MIB 24

/* Between two looks at the daemon's figures. */
#define LOOK_MS 50

static void busy_body(unsigned index)
{
	attack_ready();
	for (volatile unsigned long n = index;; n++)
		;
}

static void start_honest(struct target *target, struct honest *honest)
{
	if (honest_start(honest))
		return;
	target_print_log(target);
	target_clear(target, SETTLE_MS);
	target_remove(target);
	CHECK(0, "the honest client cannot work alone: %s", honest_faults(honest).first);
}

/* Forget the orphans that have become children of this process. */
static void reap_orphans(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* No other child of this process is running. */
static void stop_target(struct target *target)
{
	if (!target_ended(target))
		kill(target->pid, SIGTERM);
	target_await_end(target, END_LIMIT_MS);
	target_clear(target, SETTLE_MS);
	reap_orphans();
}

/* Returns false if they cannot be made ready. */
static bool await_attackers(const struct attackers *attackers)
{
	for (unsigned ms = 0; ms < READY_MS && !attackers_skipped(); ms += 5) {
		if (attackers_are_ready(attackers))
			return true;
		attack_pause_ms(5);
	}
	return false;
}

static struct experience experience_of(const struct honest *honest)
{
	return (struct experience){honest_connects(honest), honest_copies(honest)};
}

struct experience trial_control(struct target *target, struct honest *honest, unsigned busy,
				double seconds)
{
	const struct attack load = {
		.name = "control", .body = busy_body, .processes = busy, .users = 4, .busy = busy};
	struct attackers attackers;

	target_start(target, NULL, 0);
	start_honest(target, honest);
	attackers_start(&attackers, &load, target->directory, target->pid);
	await_attackers(&attackers);
	honest_measure(honest);
	attack_pause_ms((unsigned)(seconds * 1000));

	struct experience experience = experience_of(honest);

	attackers_stop(&attackers);
	honest_stop(honest);
	stop_target(target);
	return experience;
}

static void note_largest(struct target_figures *largest, struct target_figures now)
{
	if (now.memory_mib > largest->memory_mib)
		largest->memory_mib = now.memory_mib;
	if (now.anonymous_mib > largest->anonymous_mib)
		largest->anonymous_mib = now.anonymous_mib;
	if (now.fds > largest->fds)
		largest->fds = now.fds;
	if (now.processes > largest->processes)
		largest->processes = now.processes;
}

/* Let the attack go on for a while, and note the daemon's largest figures. */
static void watch(struct trial *trial, struct target *target, double ms)
{
	const uint64_t end = monotonic_now_ns() + (uint64_t)(ms * 1e6);

	do {
		note_largest(&trial->during, target_figures(target));
		attack_pause_ms(LOOK_MS);
	} while (monotonic_now_ns() < end && !target_ended(target));
	trial->crashed = target_ended(target);
}

/* Wait until the daemon has given back what it took. */
static void settle(struct trial *trial, struct target *target)
{
	const uint64_t begin = monotonic_now_ns();

	for (;;) {
		double ms = (double)(monotonic_now_ns() - begin) / 1e6;

		trial->after = target_figures(target);
		if (trial->after.fds <= trial->before.fds &&
		    trial->after.memory_mib <= trial->before.memory_mib + KEPT_MIB) {
			trial->settled_ms = ms;
			return;
		}
		if (ms > SETTLE_MS) {
			trial->settled_ms = -1;
			return;
		}
		attack_pause_ms(10);
	}
}

/* Returns false if the attack cannot be made here. */
static bool attack_once(struct trial *trial, struct target *target, struct honest *honest,
			double seconds)
{
	struct attackers attackers;

	attackers_start(&attackers, trial->attack, target->directory, target->pid);
	if (!await_attackers(&attackers)) {
		snprintf(trial->skipped, sizeof trial->skipped, "%s",
			 attackers_skipped() ? attackers_skipped()
					     : "the attackers did not get ready");
		attackers_stop(&attackers);
		return false;
	}
	if (seconds < trial->attack->least_s)
		seconds = trial->attack->least_s;
	honest_measure(honest);
	watch(trial, target, seconds * 1000);
	trial->rounds = attackers_rounds();
	trial->attacked = experience_of(honest);
	attackers_stop(&attackers);
	if (trial->crashed)
		return true;
	trial->hangs = !honest_pause(honest, SETTLE_MS);
	/* what was refused late, or waited for the attack's end, is a fault of this attack, too */
	trial->faults = honest_faults(honest);
	settle(trial, target);
	return true;
}

/* SIGTERM during the attack, and if that does not help SIGKILL. */
static void end_attacked(struct trial *trial, struct target *target, double seconds)
{
	struct ending *ending = &trial->ending;
	struct attackers attackers;

	attackers_start(&attackers, trial->attack, target->directory, target->pid);
	await_attackers(&attackers);
	attack_pause_ms((unsigned)(seconds * 500));
	kill(target->pid, SIGTERM);
	ending->term_ms = target_await_end(target, END_LIMIT_MS);
	ending->kill_ms = 0;
	if (ending->term_ms < 0) {
		kill(target->pid, SIGKILL);
		ending->kill_ms = target_await_end(target, END_LIMIT_MS);
	}
	ending->status = target->status;
	attackers_stop(&attackers);
	ending->left = !target_clear(target, SETTLE_MS);
}

void trial_run(struct trial *trial, struct target *target, struct honest *honest, double seconds)
{
	const struct attack *attack = trial->attack;

	target_start(target, attack->settings, attack->descriptors);
	start_honest(target, honest);
	CHECK(honest_pause(honest, SETTLE_MS), "the honest client hangs");
	attack_pause_ms(LOOK_MS);
	trial->before = target_figures(target);
	honest_resume(honest);
	if (attack_once(trial, target, honest, seconds) && !trial->crashed) {
		honest_resume(honest);
		end_attacked(trial, target, seconds);
	}
	honest_stop(honest);
	if (trial->crashed)
		trial->ending.status = target->status;
	stop_target(target);
}
