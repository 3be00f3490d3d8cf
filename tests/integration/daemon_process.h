/* SPDX-License-Identifier: BSD-3-Clause */
/* A private vdmd for tests that kill it. */
#ifndef TEST_DAEMON_PROCESS_H
#define TEST_DAEMON_PROCESS_H

#include <sys/types.h>

struct daemon_process {
	char directory[64]; /* its own; holds the socket */
	char socket[96];
	pid_t pid;    /* 0: not running */
	int listener; /* that each daemon is given, as systemd does; -1: daemons open their own */
};

/* Make the directory, point $VDM_SOCKET at the socket in it. */
void daemon_prepare(struct daemon_process *daemon);

/* Open a listener, at which connections wait while there is no daemon. */
void daemon_listen(struct daemon_process *daemon);

/* Start $VDMD with `workers` threads, and return when it says that it is ready. */
void daemon_start(struct daemon_process *daemon, unsigned workers);

/* SIGKILL, and wait until it has gone. */
void daemon_kill(struct daemon_process *daemon);

/* SIGTERM; returns the exit status as by wait(2). */
int daemon_stop(struct daemon_process *daemon);

/* Remove the directory. */
void daemon_remove(struct daemon_process *daemon);

/*
 * Become the daemon: fork a child that waits for READY=1 on a socket at `notify_path` and then
 * writes "ready\n" to `report_fd`, or closes it if the daemon ends before; then exec `argv`.
 * Returns on failure only.
 */
int daemon_exec(const char *notify_path, int report_fd, char **argv);

#endif
