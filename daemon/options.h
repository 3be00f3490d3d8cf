/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of vdmd(8). */
#ifndef VDM_DAEMON_OPTIONS_H
#define VDM_DAEMON_OPTIONS_H

#include <stdbool.h>

#include "config.h"

struct options {
	const char *config_file; /* NULL: the default one, if it exists */
	const char *socket; /* this and the next two are NULL to let the configuration decide */
	const char *workers;
	const char *log_level;
	bool check_config, print_config;
};

/*
 * Exit status for a wrong command line or configuration. RestartPreventExitStatus= of the unit
 * names it.
 */
#define EXIT_USAGE 2

/*
 * Parse the options. Exits after --help and --version. Returns 0, or -EINVAL after printing what is
 * wrong.
 */
int options_parse(struct options *options, int argc, char **argv);

/*
 * Make the configuration of the defaults, the file and the command line, each of which overrides
 * the one before. Returns 0; or a negative errno with a sentence in `error`, and then there is
 * nothing to free.
 */
int options_configure(const struct options *options, struct config *config,
		      char error[CONFIG_ERROR_TEXT]);

#endif
