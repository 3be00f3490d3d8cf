/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages for the operator: to the journal with structured fields where stderr is the journal
 * (systemd.exec(5), $JOURNAL_STREAM), else to stderr as lines of text.
 */
#ifndef VDM_DAEMON_LOG_H
#define VDM_DAEMON_LOG_H

#include <stdint.h>
#include <sys/types.h>
#include <syslog.h>

/* Whom a message is about. */
struct log_peer {
	pid_t pid;
	uid_t uid;
	char command[16]; /* what it calls itself, printable; empty before it has greeted */
};

void log_open(void);
void log_set_level(int level);

/* Write one message; `level` as syslog(3), `peer` may be NULL. */
void log_message(int level, const struct log_peer *peer, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same about a client's doing, and at most a few in a while for each user, so that none can fill the log. */
void log_limited(int level, const struct log_peer *peer, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
