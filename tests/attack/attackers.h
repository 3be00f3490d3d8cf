/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients that lie. Each is the body of a process, which goes on until it is killed or until the
 * daemon has ended its session too often. The test then starts it again.
 */
#ifndef VDM_TESTS_ATTACKERS_H
#define VDM_TESTS_ATTACKERS_H

#include <sys/types.h>

/* Attackers run as other users, if this process may change its user. */
#define ATTACKER_UID 65533
#define VICTIM_UID   65532

struct attacker {
	const char *name;
	void (*body)(unsigned seed, void *unused);
};

/* The attacker that keeps the daemon busiest; it is in the list as well. */
void hog(unsigned seed, void *unused);

/* The last entry has no name. */
extern const struct attacker attackers[];

/* Run an attacker in a process that dies with this one, as another user if `other_user`. */
pid_t start_attacker(void (*body)(unsigned seed, void *unused), int other_user);

#endif
