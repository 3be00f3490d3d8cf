/* SPDX-License-Identifier: BSD-3-Clause */
/* The filer of a daemon that the test has started, as proc(5) shows it. */
#ifndef TEST_FILER_PROCESS_H
#define TEST_FILER_PROCESS_H

#include <sys/types.h>

/* The process of that name that a child of the daemon has forked; 0: there is none. */
pid_t grandchild_named(pid_t daemon, const char *name);

/* Wait until the daemon has a filer other than `before`. */
pid_t filer_awaited(pid_t daemon, pid_t before);

#endif
