/* SPDX-License-Identifier: BSD-3-Clause */
#include "ini.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A line with its newline and a NUL. The longest that makes sense, a socket's path, has a fourth of it. */
#define LINE_BYTES 512

/* As much of a wrong line as an error shows. */
#define SHOWN "%.80s"

/* `text` without the blanks around it. */
static char *trim(char *text)
{
	char *end = text + strlen(text);

	while (isspace((unsigned char)*text))
		text++;
	while (end > text && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	return text;
}

/* A comment begins the line, or follows a blank. */
static void cut_comment(char *line)
{
	for (char *c = line; *c; c++) {
		if ((*c == ';' || *c == '#') && (c == line || isspace((unsigned char)c[-1]))) {
			*c = '\0';
			return;
		}
	}
}

static int read_line(char *line, const struct ini_handlers *handlers, void *context, char error[INI_ERROR_TEXT])
{
	cut_comment(line);
	line = trim(line);
	if (!*line)
		return 0;

	char *last = line + strlen(line) - 1, *equals = strchr(line, '=');

	if (*line == '[' && *last == ']') {
		*last = '\0';
		return handlers->section(context, trim(line + 1), error);
	}
	if (*line != '[' && equals && equals != line) {
		*equals = '\0';
		return handlers->setting(context, trim(line), trim(equals + 1), error);
	}
	snprintf(error, INI_ERROR_TEXT, "\"" SHOWN "\" is neither [section], \"key = value\" nor a comment", line);
	return -EINVAL;
}

static int read_lines(FILE *file, const char *path, const struct ini_handlers *handlers, void *context,
		      char error[INI_ERROR_TEXT])
{
	char line[LINE_BYTES], what[INI_ERROR_TEXT] = "";

	for (unsigned number = 1; fgets(line, sizeof line, file); number++) {
		const size_t length = strlen(line);
		int result = -EINVAL;

		if (!feof(file) && (length == 0 || line[length - 1] != '\n'))
			snprintf(what, sizeof what, "the line is longer than %d bytes, or has a NUL byte", LINE_BYTES - 2);
		else
			result = read_line(line, handlers, context, what);
		if (result) {
			snprintf(error, INI_ERROR_TEXT, "%.150s:%u: %.300s", path, number, what);
			return result;
		}
	}
	return 0;
}

int ini_read(const char *path, const struct ini_handlers *handlers, void *context, char error[INI_ERROR_TEXT])
{
	FILE *file = fopen(path, "re");

	if (!file) {
		int result = -errno;

		snprintf(error, INI_ERROR_TEXT, "%.150s: cannot be opened: %s", path, strerror(-result));
		return result;
	}
	errno = 0;

	int result = read_lines(file, path, handlers, context, error);

	/* a directory, for one, can be opened */
	if (!result && ferror(file)) {
		result = errno ? -errno : -EIO;
		snprintf(error, INI_ERROR_TEXT, "%.150s: cannot be read: %s", path, strerror(-result));
	}
	fclose(file);
	return result;
}
