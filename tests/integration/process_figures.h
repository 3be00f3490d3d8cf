/* SPDX-License-Identifier: BSD-3-Clause */
/* What proc(5) tells about a process, for tests that look for leaks. */
#ifndef TEST_PROCESS_FIGURES_H
#define TEST_PROCESS_FIGURES_H

#include <stdint.h>
#include <sys/types.h>

/* The daemon that with_daemon.sh started. */
pid_t daemon_pid(void);

/* Stop all of its threads, as by a debugger: on return none of them runs. And let them go on. */
void daemon_freeze(void);
void daemon_thaw(void);

/* Open descriptors, and mappings of memory files. */
unsigned count_fds(pid_t pid);
unsigned count_memfd_mappings(pid_t pid);

/* Memory of its own that it has in use, KiB. */
unsigned anonymous_kib(pid_t pid);

/* Context switches of all threads together, voluntary or not. */
uint64_t context_switches(pid_t pid);

/*
 * Wait until `figure(pid)` is at most `expected`, which was counted before: at that moment the
 * daemon may still have had open what it had just answered with. If the daemon never gets there,
 * the test says so and ends at its guard against hanging.
 */
void await_figure(const char *what, unsigned (*figure)(pid_t), pid_t pid, unsigned expected);

/* Sessions that the daemon has now, rings and regions of all sessions. */
struct daemon_figures {
	uint32_t sessions, rings, regions;
	uint64_t accepted, violated;
	uint64_t bytes; /* moved */
	uint64_t wakeups;
};
struct daemon_figures daemon_figures(void);

/* Wait until all of the daemon's workers sleep. */
void daemon_await_sleep(void);

/* Wait until the daemon has so many sessions. */
void await_sessions(uint32_t expected);

#endif
