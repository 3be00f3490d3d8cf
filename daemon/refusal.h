/* SPDX-License-Identifier: BSD-3-Clause */
/* The sentence that tells a client why its request is refused. */
#ifndef VDM_DAEMON_REFUSAL_H
#define VDM_DAEMON_REFUSAL_H

#include "proto/control.h"

/* Write the sentence and return `error`, a negative errno, to be passed on. */
int refuse(char text[VDM_REFUSAL_TEXT], int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Send it in answer to a request, enum vdm_message_type. Returns as vdm_packet_send(). */
int refusal_send(int socket, uint32_t request, int error, const char *text);

#endif
