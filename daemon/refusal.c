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

int refusal_send(int socket, uint32_t request, int error, const char *text)
{
	struct vdm_message_refused refused = {.header = {VDM_MESSAGE_REFUSED, sizeof refused},
					      .request = request,
					      .error = error};

	refuse(refused.text, 0, "%s", text);
	return vdm_packet_send(socket, &refused.header, NULL, 0);
}
