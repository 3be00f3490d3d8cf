/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Notes that any thread, a worker of the engine too, leaves for the one thread that takes them. To
 * leave one takes no lock.
 */
#ifndef VDM_DAEMON_NOTES_H
#define VDM_DAEMON_NOTES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

struct note {
	struct note *next;           /* in notes::left */
	TAILQ_ENTRY(note) entry;     /* in notes::taken */
	void (*take)(void *context); /* called by the thread that takes it */
	void *context;
	/* from when it is left until it is taken. acq_rel; partners: notes_leave(), notes_take() */
	_Atomic bool left;
	bool taken; /* it is in notes::taken */
};

struct notes {
	int fd; /* eventfd: there may be notes */
	/* the last one that was left. release; partner: collect(), acquire */
	_Atomic(struct note *) left;
	TAILQ_HEAD(, note) taken; /* their taker's */
};

/* Returns 0 or a negative errno. */
int notes_open(struct notes *notes);
void notes_close(struct notes *notes);

/* Leave a note. One that has been left, and not been taken yet, stays where it is. */
void notes_leave(struct notes *notes, struct note *note);

/* Wake the taker without a note. */
void notes_wake(struct notes *notes);

/* Take all notes. Each may have others forgotten. */
void notes_take(struct notes *notes);

/* Forget a note that no thread leaves any more: it may have been left. By the taker. */
void notes_forget(struct notes *notes, struct note *note);

#endif
