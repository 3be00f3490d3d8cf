/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making a ring: the files of its submissions and its completions, its doorbell, and its event
 * channel. No descriptor comes from a client. But the client populates both files, so that their
 * pages are charged to it: until it has started the ring, the daemon touches none. It can resize
 * neither file, and write only that of the submissions.
 */
#ifndef VDM_DAEMON_RING_H
#define VDM_DAEMON_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "books.h"
#include "notes.h"
#include "proto/control.h"

struct engine_queue;
struct session;

struct ring {
	LIST_ENTRY(ring) entry; /* session::rings */
	struct session *session;
	uint32_t id;
	uint32_t entries;
	uint32_t first_sequence;
	int32_t priority;
	void *submission; /* mapped read-only */
	void *completion;
	int files[RING_FILES];      /* submission, completion; -1 when the ring has been started */
	int doorbell_fd;            /* our end of it */
	struct note bell_note;      /* its bells are to be received */
	unsigned receptions;        /* the porter has been told to, and has not said that it did */
	int signal_fd;              /* our end of the event channel */
	unsigned slow_wakes;        /* in a row, of those that the clerk has sent */
	struct note signal_note;    /* a signal is to be sent */
	struct engine_queue *queue; /* NULL until the ring is started */
	struct charge charge;
};

/*
 * Make a zeroed ring, with `entries` and `first_sequence`. Stores the descriptors for the client,
 * in the order of enum vdm_ring_fd; they are the caller's to close. Returns 0; or a negative errno,
 * and then there is nothing to undo.
 */
int ring_make(struct ring *ring, int client_fds[VDM_RING_FD_COUNT]);

/*
 * Whether the client has done its part for the ring to start. Returns NULL, or the rule that it has
 * broken. From then on no page can be missing.
 */
const char *ring_check(const struct ring *ring);

/* Prepare the completions, after that check: the engine may serve the ring. */
void ring_prepare(struct ring *ring);

/* Close the files. The client may have put locks on them that make this slow. */
void ring_close_files(struct ring *ring);

/* Unmap and close everything of it. */
void ring_unmake(struct ring *ring);

#endif
