/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client that must not notice an attack: two processes of one user. One connects again and
 * again, opens a ring, adds a region of 1 MiB, copies in it and leaves. The other one keeps its
 * connection and copies 4 KiB each millisecond. Both compare every byte.
 */
#ifndef VDM_TESTS_BOUNDARY_HONEST_H
#define VDM_TESTS_BOUNDARY_HONEST_H

#include <stdbool.h>
#include <sys/types.h>

#include "samples.h"

struct honest {
	pid_t connector, copier;
	struct honest_shared *shared;
	size_t first_connect, first_copy; /* samples before the measurement */
};

/* What went wrong since honest_measure(). */
struct honest_faults {
	unsigned refused; /* requests that failed, and connections that were ended */
	unsigned wrong;   /* copies with wrong bytes */
	unsigned local;   /* copies that did not go to the daemon, for there was no connection */
	char first[200];  /* a sentence about the first of them; "": there was none */
};

/* Start both, and wait until each has done something; false: they cannot. */
bool honest_start(struct honest *honest);
void honest_stop(struct honest *honest);

/* Forget what was measured. */
void honest_measure(struct honest *honest);

struct summary honest_connects(const struct honest *honest);
struct summary honest_copies(const struct honest *honest);
struct honest_faults honest_faults(const struct honest *honest);

/* No connection of the connector is open on return; false: the one that it makes hangs. */
bool honest_pause(struct honest *honest, unsigned patience_ms);
void honest_resume(struct honest *honest);

#endif
