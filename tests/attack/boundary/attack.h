/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an attack is: the body of processes that belong to ordinary users and try to delay, stop or
 * bloat the daemon. Bodies run until they are killed. They know the public library, the messages of
 * wire.h and the kernel, and nothing of the inside of the daemon.
 */
#ifndef VDM_TESTS_BOUNDARY_ATTACK_H
#define VDM_TESTS_BOUNDARY_ATTACK_H

#include <stdbool.h>
#include <sys/types.h>

/* The users of the test. Attackers have this user id, and those below it. */
#define DAEMON_UID     65500
#define HONEST_UID     65533
#define ATTACKER_UID_0 65480

struct attack {
	const char *name;
	const char *summary;
	/* Runs in each process. It calls attack_ready() once everything is in place. */
	void (*body)(unsigned index);
	/* Runs in each process as root, before `body`; NULL: nothing needs root. */
	void (*prepare)(unsigned index);
	unsigned processes;
	unsigned users;       /* over which the processes are spread; 0: the honest client's user */
	unsigned busy;        /* processes that use a CPU all the time, for the control */
	const char *settings; /* lines for the daemon's configuration file; NULL: none */
	unsigned descriptors; /* RLIMIT_NOFILE of the daemon; 0: that of the shipped unit */
	unsigned least_s;     /* that it takes to do harm, in seconds */
	unsigned most_mib;    /* that the daemon may be charged for; 0: as for most attacks */
};

/* The last entry has no name. */
extern const struct attack attacks[];

/* For bodies. */

/* This process attacks from now on. */
void attack_ready(void);

/* Count what the attack does, to see that it does anything. */
void attack_round(void);

/* The attack cannot be made on this machine, for the reason given. Does not return. */
void attack_skip(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* The daemon's directory, and its process id. */
const char *attack_directory(void);
pid_t attack_daemon(void);

/*
 * How many of something a short attack makes, where `full` is what it takes to do harm. Attacks of
 * five seconds and more make all of them.
 */
unsigned attack_scaled(unsigned full);

/* Sleep. */
void attack_pause_ms(unsigned ms);

/* Start a thread that runs until the process ends; it has a small stack. */
void attack_thread(void *(*main)(void *argument), void *argument);

/* Fork a child that dies with the attack; returns its process id, or 0 in the child. */
pid_t attack_fork(void);

/* Have this process have at most so many descriptors, or fewer if the launcher may not. */
void limit_descriptors(unsigned most);

#endif
