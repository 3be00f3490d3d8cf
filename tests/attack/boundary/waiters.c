/* SPDX-License-Identifier: BSD-3-Clause */
#include "waiters.h"

#include <poll.h>
#include <stddef.h>

#include "attack.h"

/*
 * One array for all threads: what poll(2) writes into it is always zero. Those of the last file and
 * of the present one, by turns.
 */
static struct pollfd entries[2][ENTRIES_OF_A_THREAD];
static int look_every_ms;

static struct pollfd *entries_of(unsigned turn)
{
	return entries[turn / 2 % 2];
}

static void *wait_and_wait(void *argument)
{
	struct waiters *waiters = argument;

	for (unsigned last = 1;;) {
		unsigned turn = atomic_load(&waiters->turn);

		if (turn != last && turn % 2 == 0)
			atomic_fetch_add(&waiters->waiting, 1);
		last = turn;
		/* a file that is over does not wait */
		if (turn % 2 == 1 || poll(entries_of(turn), ENTRIES_OF_A_THREAD, look_every_ms) > 0)
			attack_pause_ms(1);
	}
	return NULL;
}

void waiters_turn_to(struct waiters *waiters, int fd)
{
	unsigned turn = atomic_load(&waiters->turn) | 1;

	if (fd < 0) {
		atomic_store(&waiters->turn, turn);
		return;
	}
	turn++;
	for (unsigned i = 0; i < ENTRIES_OF_A_THREAD; i++)
		entries_of(turn)[i] = (struct pollfd){.fd = fd};
	atomic_store(&waiters->waiting, 0);
	atomic_store(&waiters->turn, turn);
	while (atomic_load(&waiters->waiting) < waiters->threads)
		attack_pause_ms(1);
	attack_pause_ms(10); /* the last of them are about to wait */
}

void waiters_start(struct waiters *waiters, int fd, unsigned threads, int look_ms)
{
	*waiters = (struct waiters){.threads = threads};
	look_every_ms = look_ms;
	atomic_store(&waiters->turn, 1);
	for (unsigned i = 0; i < threads; i++)
		attack_thread(wait_and_wait, waiters);
	waiters_turn_to(waiters, fd);
}
