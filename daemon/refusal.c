/* SPDX-License-Identifier: BSD-3-Clause */
#include "refusal.h"

#include <stdarg.h>
#include <stdio.h>

int refuse(char text[VDM_REFUSAL_TEXT], int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, VDM_REFUSAL_TEXT, format, arguments);
	va_end(arguments);
	return error;
}
