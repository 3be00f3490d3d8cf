/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many entries in the wait queue of a file: poll(2) makes one for each element of its array. Every
 * event of the file walks all of them, in the thread that causes the event.
 */
#ifndef VDM_TESTS_BOUNDARY_WAITERS_H
#define VDM_TESTS_BOUNDARY_WAITERS_H

#include <stdatomic.h>

/* Elements of one array: RLIMIT_NOFILE limits them. */
#define ENTRIES_OF_A_THREAD 19000

struct waiters {
	_Atomic unsigned turn;    /* how many files there have been; odd: there is none */
	_Atomic unsigned waiting; /* threads, for the present file */
	unsigned threads;
};

/* Have so many threads wait for a file; -1: for none yet. They look for another one every `ms`. */
void waiters_start(struct waiters *waiters, int fd, unsigned threads, int look_ms);

/* Have them wait for another file, and return when they do; or for none, -1, and return at once. */
void waiters_turn_to(struct waiters *waiters, int fd);

#endif
