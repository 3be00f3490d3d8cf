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

/* Messages about one account's clients are counted for so long. */
#define LOG_LIMIT_SECONDS 30

/*
 * How many messages there have been about the clients of one account. It has to outlive them by
 * LOG_LIMIT_SECONDS, so that reconnecting gains nothing. Zeroed but for the account, it has seen
 * none.
 */
struct log_limit {
	uid_t account;
	uint64_t interval;   /* number of the current one */
	unsigned logged;     /* in it */
	unsigned suppressed; /* in it */
};

/* The client that a message is about. */
struct log_peer {
	struct log_limit *limit; /* of its account; NULL: its account is not known */
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
 * Write a message that a client can cause: at most a few in a while for each account, so that no
 * user can fill the log, or keep messages about others out of it. Clients whose account is not
 * known share one limit. Any thread.
 */
void log_limited(int level, const struct log_peer *peer, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
