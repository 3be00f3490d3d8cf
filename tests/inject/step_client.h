/* SPDX-License-Identifier: BSD-3-Clause */
/* The client of test_step.c: what it does while a thread of the daemon is stepped. */
#ifndef TEST_STEP_CLIENT_H
#define TEST_STEP_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum step_act {
	ACT_BATCH,       /* small operations on a ring that it has */
	ACT_LARGE,       /* a large one, in pieces, beside a small one of another ring */
	ACT_FILES,       /* operations on files in regions that it has */
	ACT_VISIT,       /* a part of what another client does, which comes and goes */
	ACT_FILES_VISIT, /* of one with files */
};

/* The parts of a visit, in their order. */
enum step_part {
	PART_CONNECT,
	PART_REGIONS,
	PART_RINGS,
	PART_OPERATIONS,
	PART_CLOSE_RINGS,
	PART_CLOSE_REGIONS,
	PART_DISCONNECT,
	PARTS
};

/* Sums of what the clients have counted. Relaxed: figures, on which no memory depends. */
struct step_figures {
	_Atomic uint64_t reconnects, repeated, recovered_here;
	_Atomic uint64_t outlived_two; /* of recovered_here: the client was patient */
};

struct step_plan {
	enum step_act act;
	enum step_part part; /* of a visit */
	bool fresh;          /* the client has no connection before */
	struct step_figures *figures;
};

/*
 * A client's life, to be run by client_process(): it prepares what the act needs, stops itself,
 * acts, stops itself, does the rest and something more, and ends. `way` is how it waits.
 */
void step_client(unsigned way, void *plan);

/* How many ways of waiting there are; those that wait for another daemon are the first ones. */
#define STEP_WAYS         4
#define STEP_PATIENT_WAYS 2

/* A client of the daemon that does nothing: it connects, stops itself, and waits for its end. */
void step_keeper(unsigned unused, void *unused_too);

#endif
