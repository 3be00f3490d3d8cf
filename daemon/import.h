/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening a memory file of a client, which a porter holds. The descriptor itself never comes into
 * the daemon: the porter may have been taken over, and what it holds may be a file whose close(2)
 * waits for a client for good, uninterruptibly, so that not even SIGKILL would end the daemon.
 */
#ifndef VDM_DAEMON_IMPORT_H
#define VDM_DAEMON_IMPORT_H

#include <stdbool.h>

#include "proto/control.h"

/* A descriptor that a client has passed. */
struct passed {
	/* the directory in proc(5) of the porter that holds it; -1: this process does, a filer */
	int process;
	int fd; /* in that process's table; -1: this process has taken it */
};

/* Take a descriptor that this process holds. It is the caller's from now on. */
static inline int passed_take(struct passed *passed)
{
	const int fd = passed->fd;

	passed->fd = -1;
	return fd;
}

/*
 * Open the memfd that a client has passed, for reading and, if `writable`, for writing: if that is
 * what the client's own descriptor allows. Returns a descriptor of an open file of our own; or a
 * negative errno with a sentence. A filer takes the client's descriptor instead. By a thread that
 * only that client's user waits for.
 */
int import_memfd(struct passed *passed, bool writable, char text[VDM_REFUSAL_TEXT]);

#endif
