/* SPDX-License-Identifier: BSD-3-Clause */
/* Many clients at once, each a process of its own. */
#ifndef TEST_CLIENT_PROCESSES_H
#define TEST_CLIENT_PROCESSES_H

#include <sys/types.h>

/* Where clients and the test meet: memory that all of them share. */
void *shared_between_processes(size_t bytes);

/*
 * Fork a client that runs `body(index, argument)` and then exits with 0. It dies with the test, and
 * has a guard of its own against hanging.
 */
pid_t client_process(void (*body)(unsigned index, void *argument), unsigned index, void *argument);

/* Wait for it; the test ends if it failed. */
void client_joined(pid_t pid);

#endif
