/* SPDX-License-Identifier: BSD-3-Clause */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libvdm/client.h"

static _Thread_local char text[320];

int fail(int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	return error;
}

void debug_line(const char *format, ...)
{
	const char *wanted = secure_getenv("VDM_DEBUG");
	char line[sizeof text + 64];
	va_list arguments;

	if (!wanted || strcmp(wanted, "1") != 0)
		return;
	va_start(arguments, format);
	vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	fprintf(stderr, "libvdm: %s\n", line);
}

const char *vdm_last_error(void)
{
	return text;
}
