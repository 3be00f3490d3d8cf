/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon that is attacked: an ordinary user of its own, in a directory of its own, with the
 * limits of the shipped unit, and in a memory cgroup of its own where that can be made. The daemon
 * may consist of several processes.
 */
#ifndef VDM_TESTS_BOUNDARY_TARGET_H
#define VDM_TESTS_BOUNDARY_TARGET_H

#include <stdbool.h>
#include <sys/types.h>

struct target {
	char directory[64];
	char socket[96];
	char cgroup[256]; /* "": there is none */
	pid_t pid;
	int status; /* as by wait(2), once it has ended */
	bool has_ended;
};

struct target_figures {
	double memory_mib;    /* of its cgroup, with the kernel's memory; or else as the next */
	double anonymous_mib; /* of its processes */
	unsigned fds;         /* of its processes */
	unsigned processes;
};

/* Make the directory, and point $VDM_SOCKET at the socket in it. Remove it. */
void target_prepare(struct target *target);
void target_remove(struct target *target);

/* Start $VDMD, and return when every user can connect. */
void target_start(struct target *target, const char *settings, unsigned descriptors);

struct target_figures target_figures(const struct target *target);

/* Whether its first process has ended; its status is then known. */
bool target_ended(struct target *target);

/* Wait for that. Returns how many milliseconds it took, or -1 if it did not end in time. */
double target_await_end(struct target *target, unsigned patience_ms);

/* Kill what is left of it, and wait until nothing is; false: something does not end. */
bool target_clear(struct target *target, unsigned patience_ms);

/* Print the daemon's log. */
void target_print_log(const struct target *target);

#endif
