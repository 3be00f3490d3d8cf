/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VDM_DAEMON_DRAIN_H
#define VDM_DAEMON_DRAIN_H

#include <stdbool.h>

/* Whether messages, which may be empty ones, wait in a socket. */
bool drain_finds_messages(int socket);

/*
 * Receive all messages that are in a socket. The descriptors in them are closed here, for as long
 * as that takes.
 */
void drain(int socket);

#endif
