/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This reads the lines, and inih splits them. By itself inih cuts a long line in two, joins an
 * indented line to the one before, and reports neither an empty section nor the line at which a
 * section begins.
 */
#include "ini_file.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reading {
	FILE *file;
	const struct ini_handlers *handlers;
	void *context;
	int line;   /* the number of the last line read */
	char *text; /* that line, of getline(3) */
	size_t capacity;
	int result; /* of the first line that was refused, which ends the reading */
	char error[INI_ERROR_TEXT];
};

/* Cut off a comment, which begins the line or follows a blank. */
static void cut_comment(char *line)
{
	for (char *c = line; *c; c++) {
		if ((*c == ';' || *c == '#') && (c == line || isspace((unsigned char)c[-1]))) {
			*c = '\0';
			return;
		}
	}
}

/* Remove blanks from both ends, so that inih joins no lines. */
static void trim(char *line)
{
	size_t blanks = strspn(line, " \t\r\n\v\f"), length = strlen(line + blanks);

	memmove(line, line + blanks, length + 1);
	while (length > 0 && isspace((unsigned char)line[length - 1]))
		line[--length] = '\0';
}

static int begin_section(struct reading *reading, const char *line)
{
	char name[INI_ERROR_TEXT];
	size_t length = strlen(line);

	if (line[length - 1] != ']')
		return 0; /* inih refuses it */
	snprintf(name, sizeof name, "%.*s", (int)(length - 2), line + 1);
	trim(name);
	return reading->handlers->section(reading->context, name, reading->error);
}

static int refuse_line(struct reading *reading, const char *why)
{
	snprintf(reading->error, sizeof reading->error, "%s", why);
	return -EINVAL;
}

/* Reads lines for inih, as fgets(3) would. */
static char *read_line(char *line, int size, void *stream)
{
	struct reading *reading = stream;

	if (reading->result)
		return NULL;

	ssize_t length = getline(&reading->text, &reading->capacity, reading->file);

	if (length < 0)
		return NULL;
	reading->line++;
	if (strlen(reading->text) < (size_t)length)
		reading->result = refuse_line(reading, "the line has a NUL byte");
	cut_comment(reading->text);
	trim(reading->text);
	if (strlen(reading->text) >= (size_t)size)
		reading->result = refuse_line(reading, "the line is too long for any setting");
	else if (reading->text[0] == '[' && !reading->result)
		reading->result = begin_section(reading, reading->text);
	return reading->result ? NULL : strcpy(line, reading->text);
}

static int set(void *context, const char *section, const char *name, const char *value)
{
	struct reading *reading = context;

	(void)section; /* inih has cut it to 49 bytes */
	if (*name)
		reading->result =
			reading->handlers->setting(reading->context, name, value, reading->error);
	return *name && !reading->result;
}

/* Read all lines. Returns 0, or the number of the line that is wrong. */
static int read_lines(struct reading *reading)
{
	/*
	 * inih returns the number of the first line that set() refused or that inih could not split
	 */
	int refused = ini_parse_stream(read_line, reading, set, reading);

	if (refused > 0 && (!reading->result || refused < reading->line)) {
		reading->result = -EINVAL;
		snprintf(reading->error, sizeof reading->error,
			 "neither [section], \"key = value\" nor a comment");
		return refused;
	}
	return reading->result ? reading->line : 0;
}

int ini_read(const char *path, const struct ini_handlers *handlers, void *context,
	     char error[INI_ERROR_TEXT])
{
	struct reading reading = {
		.file = fopen(path, "re"), .handlers = handlers, .context = context};

	if (!reading.file) {
		int result = -errno;

		snprintf(error, INI_ERROR_TEXT, "%.150s: cannot be opened: %s", path,
			 strerror(-result));
		return result;
	}
	errno = 0;

	int line = read_lines(&reading);

	/* a directory can be opened */
	if (!line && ferror(reading.file)) {
		reading.result = errno ? -errno : -EIO;
		snprintf(error, INI_ERROR_TEXT, "%.150s: cannot be read: %s", path,
			 strerror(-reading.result));
	} else if (line) {
		snprintf(error, INI_ERROR_TEXT, "%.150s:%d: %.300s", path, line, reading.error);
	}
	fclose(reading.file);
	free(reading.text);
	return reading.result;
}
