/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making a ring: its memory, which the daemon creates, fills and seals, so that a client can neither resize
 * it nor write completions; its doorbell; and its event channel.
 */
#ifndef VDM_DAEMON_RING_H
#define VDM_DAEMON_RING_H

#include <stdint.h>
#include <sys/queue.h>

#include "engine/engine.h"
#include "reaper.h"
#include "proto/control.h"
#include "proto/ring.h"

struct ring {
	LIST_ENTRY(ring) entry; /* in its session */
	uint32_t id;
	uint32_t entries;
	void *submission;       /* mapped read-only: the client writes it */
	void *completion;
	int doorbell_fd;
	int signal_fd;          /* our end of the event channel */
	struct engine_queue *queue;
};

LIST_HEAD(ring_list, ring);

/*
 * Make the memory and the channels of a ring. Stores the descriptors for the client, in the order of enum
 * vdm_ring_fd; they are the caller's to close. Returns 0 or a negative errno, and then there is nothing to
 * undo.
 */
int ring_make(struct ring *ring, uint32_t entries, uint32_t first_sequence,
	      int client_fds[VDM_RING_FD_COUNT]);

/* Unmap and close everything of it. */
void ring_unmake(struct ring *ring);

/*
 * The same in the background; and with `empty` give back the pages of its memory, which would otherwise stay
 * charged to us for as long as the client keeps the files open. For a client that has done with the ring, or that
 * we have done with: completions that it has not read are lost.
 */
void ring_reap(struct ring *ring, struct reaper *reaper, struct user *user, bool empty);

#endif
