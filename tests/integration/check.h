/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks for threads and child processes, where a test framework's jump out of the test cannot
 * work. */
#ifndef TEST_CHECK_H
#define TEST_CHECK_H

#include <stdio.h>
#include <unistd.h>

#include <libvdm.h>

/* End the process with a line that names the place, unless the condition holds. */
#define CHECK(condition, ...)                                                                      \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: [%d] failed: %s: ", __FILE__, __LINE__,            \
				(int)getpid(), #condition);                                        \
			fprintf(stderr, __VA_ARGS__);                                              \
			fprintf(stderr, " (last error of the library: %s)\n", vdm_last_error());   \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

#endif
