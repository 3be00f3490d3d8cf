/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a clerk has to do with its user's filer: starting it when a client first asks for a
 * connection to it, handing it clients, and ending it. Nothing here waits for a filer that hangs.
 */
#ifndef VDM_DAEMON_FILING_H
#define VDM_DAEMON_FILING_H

#include <stdbool.h>
#include <sys/queue.h>

#include "birth.h"
#include "proto/control.h"

struct files_counters;
struct house;
struct session;
struct user;

struct filing {
	LIST_ENTRY(filing) entry; /* house::filings, while there are counters */
	struct house *house;
	struct user *user;
	int control;                     /* socket to the filer; -1: there is none */
	struct born born;                /* both -1: it has not been born, or there is none */
	struct files_counters *counters; /* in shared memory, of the filer; NULL: there is none */
};

void filing_init(struct filing *filing, struct house *house, struct user *user);

/*
 * Get a session's client a connection to the filer, which is started if there is none. It takes the
 * place of the connection that the session had. Stores the client's socket. Returns 0 or a negative
 * errno with a sentence. By the clerk.
 */
int filing_open(struct filing *filing, struct session *session, int *socket,
		char text[VDM_REFUSAL_TEXT]);

/* Take what the filer says, when `control` is readable. */
void filing_listen(struct filing *filing);

/* Have the filer end. born.pidfd, unless it is -1, becomes readable when it has. */
void filing_end(struct filing *filing);

/* Forget a filer that has ended, or that the daemon's end does not wait for. */
void filing_forget(struct filing *filing);

#endif
