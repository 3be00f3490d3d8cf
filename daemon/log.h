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

/* The client that a message is about. */
struct log_peer {
	pid_t pid;
	uid_t uid;
	char command[16]; /* what the client calls itself, printable; empty before it has greeted */
};

/* Find out whether stderr is the journal. */
void log_open(void);

/* Write no messages that are less important than `level`, of syslog(3). */
void log_set_level(int level);

/* Write one message. `level` is one of syslog(3). `peer` may be NULL. */
void log_message(int level, const struct log_peer *peer, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Write a message that a client can cause: at most a few in a while for each user, so that no user
 * can fill the log.
 */
void log_limited(int level, const struct log_peer *peer, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
