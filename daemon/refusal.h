/* SPDX-License-Identifier: BSD-3-Clause */
/* Refusing a request, with a sentence that tells the client why. */
#ifndef VDM_DAEMON_REFUSAL_H
#define VDM_DAEMON_REFUSAL_H

#include "proto/control.h"

/* Write the sentence. Returns `error`, a negative errno, for the caller to return. */
int refuse(char text[VDM_REFUSAL_TEXT], int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Answer a request, of enum vdm_message_type, with the sentence. Returns as vdm_packet_send() does.
 */
int refusal_send(int socket, uint32_t request, int error, const char *text);

#endif
