/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients that lie. Each is the body of a process of its own, which goes on until it is killed or until the daemon has
 * had enough of its sessions; it is then started again.
 */
#ifndef VDM_TESTS_ATTACKERS_H
#define VDM_TESTS_ATTACKERS_H

#include <sys/types.h>

/* Users of their own, where this one may become others. */
#define ATTACKER_UID 65533
#define VICTIM_UID   65532

struct attacker {
	const char *name;
	void (*body)(unsigned seed, void *unused);
};

/* The one that keeps the daemon busiest; also among the others. */
void hog(unsigned seed, void *unused);

/* Ends with one that has no name. */
extern const struct attacker attackers[];

/* Run one in a process that dies with this one, as a user of its own if `other_user`. */
pid_t start_attacker(void (*body)(unsigned seed, void *unused), int other_user);

#endif
