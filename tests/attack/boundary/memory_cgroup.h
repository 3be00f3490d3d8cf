/* SPDX-License-Identifier: BSD-3-Clause */
/* A memory cgroup, of version 1 or 2 (cgroups(7)), below the one that this process is in. */
#ifndef VDM_TESTS_BOUNDARY_MEMORY_CGROUP_H
#define VDM_TESTS_BOUNDARY_MEMORY_CGROUP_H

#include <stddef.h>
#include <sys/types.h>

/* Make it; `path` becomes "" where that cannot be done. With that path, no function does
 * anything. */
void memory_cgroup_make(char *path, size_t size);
void memory_cgroup_remove(const char *path);

/* Have this process be in it. */
void memory_cgroup_enter(const char *path);

/* What is charged to it; -1: that is not known. */
double memory_cgroup_bytes(const char *path);

/* The processes in it, at most `most`. Returns how many there are. */
unsigned memory_cgroup_processes(const char *path, pid_t *pids, unsigned most);

#endif
