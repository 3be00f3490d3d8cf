/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of vdmd(8). */
#ifndef VDM_DAEMON_OPTIONS_H
#define VDM_DAEMON_OPTIONS_H

#include <stdbool.h>

#include "config.h"

struct options {
	const char *config_file; /* NULL: the default one, if it is there */
	const char *socket;      /* these are NULL where the configuration is to decide */
	const char *workers;
	const char *log_level;
	bool check_config, print_config;
};

/* Exit status for a command line or a configuration that is wrong; RestartPreventExitStatus= of the unit has it. */
#define EXIT_USAGE 2

/* Parse. Prints and exits for --help and --version. Returns 0, or -EINVAL after printing what is wrong. */
int options_parse(struct options *options, int argc, char **argv);

/*
 * The configuration in force: defaults, then the file, then the command line. Returns 0 or a negative errno
 * with a sentence in `error`; then nothing is to be freed.
 */
int options_configure(const struct options *options, struct config *config,
		      char error[CONFIG_ERROR_TEXT]);

#endif
