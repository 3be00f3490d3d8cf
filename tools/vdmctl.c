/* SPDX-License-Identifier: BSD-3-Clause */
/* Show what a running vdmd does: its totals, and a line for each session that the user may see. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libvdm.h>

enum { EXIT_NO_DAEMON = 1, EXIT_USAGE = 2 };

/* The version of the JSON: raised when a key changes its meaning or goes, not when one is added. */
#define SCHEMA 1

static void print_help(void)
{
	printf("Usage: vdmctl status [--json] [--socket PATH]\n"
	       "Show what a running vdmd does.\n\n"
	       "  --json         print one JSON object\n"
	       "  --socket PATH  of the daemon; default $VDM_SOCKET, then /run/vdmd/vdmd.sock\n"
	       "  --help         print this and exit\n"
	       "  --version      print the version and exit\n\n"
	       "Exit status: 0 success, 1 no daemon answers, 2 wrong usage.\n"
	       "See vdmctl(1).\n");
}

static int bad_usage(void)
{
	fprintf(stderr, "Try 'vdmctl --help'.\n");
	return EXIT_USAGE;
}

static uint64_t operations(const struct vdm_status_counts *counts)
{
	return counts->nop + counts->memcpy + counts->memmove + counts->memset + counts->flush;
}

/* "1.5 GiB": up to three digits and a unit, at most 9 characters. */
static const char *bytes_text(uint64_t bytes, char text[16])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1000 && unit + 1 < sizeof units / sizeof *units) {
		value /= 1024;
		unit++;
	}
	snprintf(text, 16, "%.*f %s", unit && value < 100 ? 1 : 0, value, units[unit]);
	return text;
}

/* "3d04h", "4h05m", "5m06s" or "7s". */
static const char *age_text(uint64_t ns, char text[16])
{
	uint64_t s = ns / 1000000000;

	if (s >= 86400)
		snprintf(text, 16, "%" PRIu64 "d%02" PRIu64 "h", s / 86400, s / 3600 % 24);
	else if (s >= 3600)
		snprintf(text, 16, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
	else if (s >= 60)
		snprintf(text, 16, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
	else
		snprintf(text, 16, "%" PRIu64 "s", s);
	return text;
}

/* The client chooses the name, which must not send control characters to a terminal. */
static void print_command(const char command[16])
{
	for (size_t i = 0; i < 16 && command[i]; i++)
		putchar(command[i] >= ' ' && command[i] <= '~' ? command[i] : '?');
}

static void print_files(const struct vdm_status_files *files)
{
	char bytes[16];

	printf("files: %" PRIu64 " operations, %s moved, %" PRIu64 " syncs; %" PRIu32
	       " processes, ",
	       files->operations, bytes_text(files->bytes, bytes), files->syncs, files->processes);
	if (files->io_uring > 0)
		printf("by io_uring\n");
	else if (files->io_uring < 0)
		printf("by threads: %s\n", strerror(-files->io_uring));
	else
		printf("none yet\n");
}

static void print_table(const struct vdm_status *status)
{
	char bytes[16], mapped[16], age[16];

	printf("vdmd %s, process %" PRIu32 ", up %s, %" PRIu32 " workers (%" PRIu32 " awake)\n",
	       status->version, status->pid, age_text(status->uptime_ns, age), status->workers,
	       status->workers_awake);
	printf("now: %" PRIu32 " sessions, %" PRIu32 " rings, %" PRIu32 " regions, %s mapped\n",
	       status->sessions, status->rings, status->regions,
	       bytes_text(status->mapped_bytes, mapped));
	printf("since start: %" PRIu64 " operations, %" PRIu64 " failed, %s moved, %" PRIu64
	       " wakeups; sessions: %" PRIu64 " accepted, %" PRIu64 " refused, %" PRIu64
	       " ended for a violation\n",
	       operations(&status->counts), status->counts.failed,
	       bytes_text(status->counts.bytes, bytes), status->wakeups, status->sessions_accepted,
	       status->sessions_refused, status->sessions_violated);
	print_files(&status->files);
	if (!status->session_count)
		return;
	printf("\n%7s %6s %6s %5s %7s %9s %9s %12s %7s %9s  %s\n", "PID", "UID", "AGE", "RINGS",
	       "REGIONS", "MAPPED", "IN FLIGHT", "OPERATIONS", "FAILED", "MOVED", "COMMAND");
	for (uint32_t i = 0; i < status->session_count; i++) {
		const struct vdm_status_session *session = &status->session[i];

		printf("%7" PRIu32 " %6" PRIu32 " %6s %5" PRIu32 " %7" PRIu32 " %9s %9" PRIu64
		       " %12" PRIu64 " %7" PRIu64 " %9s  ",
		       session->pid, session->uid, age_text(session->age_ns, age), session->rings,
		       session->regions, bytes_text(session->mapped_bytes, mapped),
		       session->in_flight, operations(&session->counts), session->counts.failed,
		       bytes_text(session->counts.bytes, bytes));
		print_command(session->command);
		putchar('\n');
	}
}

/*
 * Print at most `size` bytes as a JSON string. Bytes beyond ASCII are printed as Latin-1, so that
 * the output is valid whatever the client is called.
 */
static void json_string(const char *text, size_t size)
{
	putchar('"');
	for (size_t i = 0; i < size && text[i]; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < ' ' || c > '~')
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void json_number(const char *key, uint64_t value)
{
	printf("\"%s\": %" PRIu64 ", ", key, value);
}

/* The last keys of an object, so no comma follows. */
static void json_counts(const struct vdm_status_counts *counts)
{
	printf("\"operations\": {\"nop\": %" PRIu64 ", \"memcpy\": %" PRIu64
	       ", \"memmove\": %" PRIu64 ", \"memset\": %" PRIu64 ", \"flush\": %" PRIu64
	       "}, \"failed\": %" PRIu64 ", \"bytes\": %" PRIu64,
	       counts->nop, counts->memcpy, counts->memmove, counts->memset, counts->flush,
	       counts->failed, counts->bytes);
}

/* "io_uring" is null until a process has said whether it uses that. */
static void json_files(const struct vdm_status_files *files)
{
	printf(", \"files\": {");
	json_number("operations", files->operations);
	json_number("bytes", files->bytes);
	json_number("syncs", files->syncs);
	json_number("processes", files->processes);
	printf("\"io_uring\": %s", files->io_uring > 0   ? "true"
				   : files->io_uring < 0 ? "false"
							 : "null");
	if (files->io_uring < 0) {
		printf(", \"io_uring_error\": ");
		json_string(strerror(-files->io_uring), 256);
	}
	printf("}");
}

static void print_json(const struct vdm_status *status)
{
	printf("{");
	json_number("schema", SCHEMA);
	printf("\"version\": ");
	json_string(status->version, sizeof status->version);
	printf(", ");
	json_number("pid", status->pid);
	json_number("uptime_ns", status->uptime_ns);
	json_number("workers", status->workers);
	json_number("workers_awake", status->workers_awake);
	json_number("wakeups", status->wakeups);
	json_number("sessions_accepted", status->sessions_accepted);
	json_number("sessions_refused", status->sessions_refused);
	json_number("sessions_violated", status->sessions_violated);
	json_number("sessions_now", status->sessions);
	json_number("rings", status->rings);
	json_number("regions", status->regions);
	json_number("mapped_bytes", status->mapped_bytes);
	json_counts(&status->counts);
	json_files(&status->files);
	printf(",\n\"sessions\": [");
	for (uint32_t i = 0; i < status->session_count; i++) {
		const struct vdm_status_session *session = &status->session[i];

		printf("%s\n {", i ? "," : "");
		json_number("pid", session->pid);
		json_number("uid", session->uid);
		printf("\"command\": ");
		json_string(session->command, sizeof session->command);
		printf(", ");
		json_number("age_ns", session->age_ns);
		json_number("rings", session->rings);
		json_number("regions", session->regions);
		json_number("mapped_bytes", session->mapped_bytes);
		json_number("in_flight", session->in_flight);
		json_counts(&session->counts);
		printf("}");
	}
	printf("]}\n");
}

static int show_status(const char *socket, int json)
{
	struct vdm_status *status;

	if (vdm_status_read(socket, &status)) {
		fprintf(stderr, "vdmctl: %s\n", vdm_last_error());
		return EXIT_NO_DAEMON;
	}
	if (json)
		print_json(status);
	else
		print_table(status);
	free(status);
	if (fflush(stdout) || ferror(stdout)) {
		perror("vdmctl: standard output");
		return EXIT_NO_DAEMON;
	}
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	enum { JSON = 1, SOCKET, HELP, VERSION };
	static const struct option known[] = {
		{"json", no_argument, NULL, JSON},
		{"socket", required_argument, NULL, SOCKET},
		{"help", no_argument, NULL, HELP},
		{"version", no_argument, NULL, VERSION},
		{0},
	};
	const char *socket = NULL;
	int json = 0;
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case JSON:
			json = 1;
			break;
		case SOCKET:
			socket = optarg;
			break;
		case HELP:
			print_help();
			return EXIT_SUCCESS;
		case VERSION:
			printf("vdmctl %s\n", VDM_VERSION);
			return EXIT_SUCCESS;
		default:
			return bad_usage();
		}
	}
	if (optind + 1 != argc || strcmp(argv[optind], "status")) {
		fprintf(stderr, "vdmctl: expected one command, \"status\"%s%s\n",
			optind < argc ? ", not " : "", optind < argc ? argv[argc - 1] : "");
		return bad_usage();
	}
	return show_status(socket, json);
}
