/* SPDX-License-Identifier: BSD-3-Clause */
/* The processes of an attack, as the launcher sees them. */
#ifndef VDM_TESTS_BOUNDARY_ATTACKERS_H
#define VDM_TESTS_BOUNDARY_ATTACKERS_H

#include <stdint.h>

#include "attack.h"

#define MOST_ATTACKERS 64

struct attackers {
	pid_t pids[MOST_ATTACKERS]; /* each leads a process group */
	unsigned count;
};

/* Once, before any of the others: attacks will last so long. */
void attackers_init(double seconds);

void attackers_start(struct attackers *attackers, const struct attack *attack,
		     const char *daemon_directory, pid_t daemon);

/* Whether all of them attack. */
bool attackers_are_ready(const struct attackers *attackers);

/* Why the attack cannot be made here, or NULL. */
const char *attackers_skipped(void);

/* What attack_round() has counted since they were started. */
uint64_t attackers_rounds(void);

/* Kill them and their children. */
void attackers_stop(struct attackers *attackers);

#endif
