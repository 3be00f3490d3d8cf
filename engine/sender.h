/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which thread sends the signals of an account. A worker does, and measures how long that took: the
 * kernel wakes whatever waits for the client's end, and a client can have millions of epolls wait
 * there. While the worker wakes those it serves no other client. So after a signal that took long,
 * workers pass the account's signals on for some time, to a thread that no other client waits for.
 * Then one worker tries again.
 *
 * A worker that was preempted may make an honest account look slow. That costs the account a hop
 * between threads for each of its signals, and nothing else.
 *
 * Any thread, without a lock: each value is a hint, and a lost update makes a pause shorter.
 */
#ifndef VDM_ENGINE_SENDER_H
#define VDM_ENGINE_SENDER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A signal usually takes 1 to 5 us. One that took longer than this is slow. */
#define SENDER_SLOW_NS 100000

/* Signals are passed on for the first time so long, and for twice as long after each slow one, up
 * to the second value: then slow signals take a few parts in a thousand of a worker's time. */
#define SENDER_FIRST_PAUSE_NS 2000000000ull
#define SENDER_MOST_PAUSE_NS  64000000000ull

/* An account whose last slow signal was so long ago begins with the first pause again. */
#define SENDER_FORGIVEN_NS 600000000000ull

/* In ns, CLOCK_MONOTONIC. relaxed: each value stands alone; partners: the functions below. */
struct sender {
	_Atomic uint64_t pass_until; /* workers pass signals on until then; 0: they send them */
	_Atomic uint64_t pause;      /* for how long they did the last time */
	_Atomic uint64_t last_slow;  /* when the last slow signal was begun */
};

/*
 * Whether a worker passes the next signal on. If not, it sends it now, and says how long it took.
 */
bool sender_passes_on(struct sender *sender, uint64_t now);
void sender_took(struct sender *sender, uint64_t begin, uint64_t end);

#endif
