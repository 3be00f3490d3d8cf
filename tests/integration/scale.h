/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long the long tests are, and the guard against tests that hang. The length is a percentage in
 * $VDM_TEST_SCALE, or --quick for a tenth.
 */
#ifndef TEST_SCALE_H
#define TEST_SCALE_H

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Whether this is a build with sanitizers, which keep memory for themselves. */
static inline int is_sanitized(void)
{
	const char *slow = getenv("VDM_TEST_SLOW");

	return slow && strcmp(slow, "0") != 0;
}

static inline unsigned long scaled(unsigned long full)
{
	const char *scale = getenv("VDM_TEST_SCALE");
	unsigned long n = full * (scale ? strtoul(scale, NULL, 10) : 100) / 100;

	return n > 0 ? n : 1;
}

/* SIGALRM ends a test that hangs, after ten times `seconds`, which is long already. */
static inline void guard_against_hanging(unsigned seconds)
{
	alarm(seconds * 10);
}

static inline void scale_from_arguments(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--quick") == 0)
			setenv("VDM_TEST_SCALE", "10", 1);
}

#endif
