/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making a ring: the memory of its submissions, which the client passes; that of its completions,
 * which the daemon creates, fills and seals, so that a client can neither resize nor write it; its
 * doorbell; and its event channel.
 */
#ifndef VDM_DAEMON_RING_H
#define VDM_DAEMON_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "books.h"
#include "proto/control.h"

struct engine_queue;
struct reaper;
struct user;

struct ring {
	LIST_ENTRY(ring) entry; /* session::rings */
	uint32_t id;
	uint32_t entries;
	void *submission; /* the client's, mapped read-only */
	void *completion;
	int doorbell_fd;
	int signal_fd; /* our end of the event channel */
	struct engine_queue *queue;
	struct charge charge;
};

/*
 * Check the file for a ring's submissions: it has enough memory, which can be neither taken away
 * nor punched out. Returns 0, or a negative errno with the rule that it breaks in `text`.
 */
int ring_check(int fd, uint32_t entries, int holes_fd, char text[VDM_REFUSAL_TEXT]);

/*
 * Map the memory of a zeroed ring, and make what the daemon has to make of it. The file stays the
 * caller's. Stores the descriptors for the client, in the order of enum vdm_ring_fd; they are the
 * caller's to close. Returns 0; or a negative errno, and then there is nothing to undo.
 */
int ring_make(struct ring *ring, int submission_fd, uint32_t entries, uint32_t first_sequence,
	      int client_fds[VDM_RING_FD_COUNT]);

/* Unmap and close everything of it. */
void ring_unmake(struct ring *ring);

/*
 * Have the reaper unmap and close everything of it. With `empty` the reaper also punches out the
 * pages of its completions, which would otherwise stay charged to the daemon for as long as the
 * client keeps the file open. Completions that the client has not read are lost.
 */
void ring_dispose(struct ring *ring, struct reaper *reaper, struct user *user, bool empty);

#endif
