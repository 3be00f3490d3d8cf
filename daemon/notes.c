/* SPDX-License-Identifier: BSD-3-Clause */
#include "notes.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

int notes_open(struct notes *notes)
{
	*notes = (struct notes){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	TAILQ_INIT(&notes->taken);
	return notes->fd < 0 ? -errno : 0;
}

void notes_close(struct notes *notes)
{
	if (notes->fd >= 0)
		close(notes->fd);
}

void notes_wake(struct notes *notes)
{
	eventfd_write(notes->fd, 1);
}

void notes_leave(struct notes *notes, struct note *note)
{
	/* acq_rel; partner: notes_take() */
	if (atomic_exchange_explicit(&note->left, true, memory_order_acq_rel))
		return;
	/* release; partner: collect(), acquire */
	note->next = atomic_load_explicit(&notes->left, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&notes->left, &note->next, note,
						      memory_order_release, memory_order_relaxed))
		;
	notes_wake(notes);
}

static void collect(struct notes *notes)
{
	/* acquire; partner: notes_leave(), release */
	struct note *note = atomic_exchange_explicit(&notes->left, NULL, memory_order_acquire);

	for (struct note *next; note; note = next) {
		next = note->next;
		note->taken = true;
		TAILQ_INSERT_TAIL(&notes->taken, note, entry);
	}
}

static void take_out(struct notes *notes, struct note *note)
{
	TAILQ_REMOVE(&notes->taken, note, entry);
	note->taken = false;
	/* acq_rel; partner: notes_leave() */
	atomic_exchange_explicit(&note->left, false, memory_order_acq_rel);
}

void notes_take(struct notes *notes)
{
	struct note *note;
	eventfd_t count;

	eventfd_read(notes->fd, &count);
	collect(notes);
	while ((note = TAILQ_FIRST(&notes->taken))) {
		take_out(notes, note);
		note->take(note->context);
	}
}

void notes_forget(struct notes *notes, struct note *note)
{
	collect(notes);
	if (note->taken)
		take_out(notes, note);
}
