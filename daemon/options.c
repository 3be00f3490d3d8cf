/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void print_help(void)
{
	printf("Usage: vdmd [OPTION]...\n"
	       "Copy memory for other processes.\n\n"
	       "  --socket PATH      listen here (key socket)\n"
	       "  --workers N        threads that copy; 0: half the CPUs (key workers)\n"
	       "  --config FILE      read FILE instead of " CONFIG_DEFAULT_FILE "\n"
	       "  --log-level LEVEL  error, warning, notice, info or debug (key log_level)\n"
	       "  --check-config     say what is wrong with the configuration, if anything, and exit\n"
	       "  --print-config     print the configuration in force and exit\n"
	       "  --help             print this and exit\n"
	       "  --version          print the version and exit\n\n"
	       "Options go before the configuration file, and that before defaults.\n"
	       "See vdmd(8) and vdmd.conf(5).\n");
}

static int bad_usage(void)
{
	fprintf(stderr, "Try 'vdmd --help'.\n");
	return -EINVAL;
}

int options_parse(struct options *options, int argc, char **argv)
{
	enum { SOCKET = 1, WORKERS, CONFIG, LOG_LEVEL, CHECK_CONFIG, PRINT_CONFIG, HELP, VERSION };
	static const struct option known[] = {
		{"socket", required_argument, NULL, SOCKET},
		{"workers", required_argument, NULL, WORKERS},
		{"config", required_argument, NULL, CONFIG},
		{"log-level", required_argument, NULL, LOG_LEVEL},
		{"check-config", no_argument, NULL, CHECK_CONFIG},
		{"print-config", no_argument, NULL, PRINT_CONFIG},
		{"help", no_argument, NULL, HELP},
		{"version", no_argument, NULL, VERSION},
		{0},
	};
	int option;

	*options = (struct options){0};
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case SOCKET:
			options->socket = optarg;
			break;
		case WORKERS:
			options->workers = optarg;
			break;
		case CONFIG:
			options->config_file = optarg;
			break;
		case LOG_LEVEL:
			options->log_level = optarg;
			break;
		case CHECK_CONFIG:
			options->check_config = true;
			break;
		case PRINT_CONFIG:
			options->print_config = true;
			break;
		case HELP:
			print_help();
			exit(EXIT_SUCCESS);
		case VERSION:
			printf("vdmd %s\n", VDM_VERSION);
			exit(EXIT_SUCCESS);
		default:
			return bad_usage();
		}
	}
	if (optind < argc) {
		fprintf(stderr, "vdmd: \"%s\" is not an option, and nothing else is expected\n",
			argv[optind]);
		return bad_usage();
	}
	return 0;
}

static int set_from(struct config *config, const char *name, const char *value,
		    char error[CONFIG_ERROR_TEXT])
{
	return value ? config_set(config, "vdmd", name, value, error) : 0;
}

/* On the command line, a path may be relative to the current directory. */
static int set_socket(struct config *config, const char *path, char error[CONFIG_ERROR_TEXT])
{
	char *absolute, *here;

	if (!path || *path == '/')
		return set_from(config, "socket", path, error);
	here = getcwd(NULL, 0);
	if (!here || asprintf(&absolute, "%s/%s", here, path) < 0) {
		free(here);
		snprintf(error, CONFIG_ERROR_TEXT,
			 "the current directory cannot be found: give --socket "
			 "an absolute path");
		return -ENOENT;
	}

	int result = set_from(config, "socket", absolute, error);

	free(absolute);
	free(here);
	return result;
}

int options_configure(const struct options *options, struct config *config,
		      char error[CONFIG_ERROR_TEXT])
{
	const char *file = options->config_file;

	config_defaults(config);

	int result = config_read(config, file ? file : CONFIG_DEFAULT_FILE, file != NULL, error);

	if (!result)
		result = set_socket(config, options->socket, error);
	if (!result)
		result = set_from(config, "workers", options->workers, error);
	if (!result)
		result = set_from(config, "log_level", options->log_level, error);
	if (result)
		config_free(config);
	return result;
}
