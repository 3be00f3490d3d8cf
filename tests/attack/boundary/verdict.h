/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What of a trial breaks a promise. How fast the machine is decides none of the failures: only the
 * warnings compare times, and then with those of the same run beside busy processes.
 */
#ifndef VDM_TESTS_BOUNDARY_VERDICT_H
#define VDM_TESTS_BOUNDARY_VERDICT_H

#include "trial.h"

#define MOST_FINDINGS 8

struct verdict {
	unsigned failures, warnings;
	char findings[MOST_FINDINGS][240]; /* sentences: first the failures, then the warnings */
};

struct verdict verdict_of(const struct trial *trial);

#endif
