/* SPDX-License-Identifier: BSD-3-Clause */
/* One attack on a daemon of its own, beside the honest client; and what came of it. */
#ifndef VDM_TESTS_BOUNDARY_TRIAL_H
#define VDM_TESTS_BOUNDARY_TRIAL_H

#include "attackers.h"
#include "honest.h"
#include "target.h"

/* What the honest client saw. */
struct experience {
	struct summary connects, copies;
};

/* How the daemon ended, while it was attacked. */
struct ending {
	double term_ms; /* from SIGTERM; -1: it did not end within END_LIMIT_MS */
	double kill_ms; /* from SIGKILL after that; -1: nor did it then */
	int status;     /* as by wait(2) */
	bool left;      /* something of it was there yet 10 s after the attackers were killed */
};

/* TimeoutStopSec= of the shipped unit. */
#define END_LIMIT_MS 5000

struct trial {
	const struct attack *attack;
	char skipped[160]; /* why; "": it was made */
	struct experience alone, hogs, attacked;
	struct honest_faults faults;
	uint64_t rounds;
	struct target_figures before, during, after; /* `during` has the largest */
	double settled_ms; /* until `after` was as `before`; -1: not within 10 s */
	bool hangs;        /* the honest client, 10 s after the attackers were killed */
	bool crashed;      /* the daemon ended by itself */
	struct ending ending;
};

/* What the honest client sees beside so many busy processes. */
struct experience trial_control(struct target *target, struct honest *honest, unsigned busy,
				double seconds);

/* Make the attack for so many seconds, and then once more while the daemon ends. */
void trial_run(struct trial *trial, struct target *target, struct honest *honest, double seconds);

#endif
