/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening a memory file of a client, which a porter holds. The descriptor itself never comes into
 * this process: the porter may have been taken over, and what it holds may be a file whose close(2)
 * waits for a client for good, uninterruptibly, so that not even SIGKILL would end the daemon.
 */
#ifndef VDM_DAEMON_IMPORT_H
#define VDM_DAEMON_IMPORT_H

#include <stdbool.h>

#include "proto/control.h"

/* A descriptor that a client has passed, and that a porter holds. */
struct passed {
	int process; /* the porter's directory of proc(5) */
	int fd;      /* in the porter's table */
};

/*
 * Open the memfd that a client has passed, for reading and, if `writable`, for writing: if that is
 * what the client's own descriptor allows. Returns a descriptor of an open file of our own; or a
 * negative errno with a sentence. By a thread that only that client's user waits for.
 */
int import_memfd(const struct passed *passed, bool writable, char text[VDM_REFUSAL_TEXT]);

#endif
