/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Closing what a client may have made slow to close, away from the event loop: the last close(2) of a TCP socket
 * waits for as long as the client's SO_LINGER says, that of a file on FUSE for its server, and punching a
 * file's pages out for a lock that the client may hold. Threads are started as they are needed; those of one
 * user's things are few, so that he delays nobody else's. Where many descriptors come to wait for them, a thread that
 * has a table of its own is left with all of these.
 */
#ifndef VDM_DAEMON_REAPER_H
#define VDM_DAEMON_REAPER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "books.h"
#include "user.h"

struct reaper;

/* What is to be done together, in this order: pages given back, memory unmapped, descriptors closed. */
struct reaping {
	STAILQ_ENTRY(reaping) entry;
	struct user *user;           /* NULL: nobody's */
	struct {
		void *base;
		size_t size;
		bool empty;          /* punch its pages out of the file first */
	} memory[2];
	unsigned memory_count;
	struct charge charge;        /* for descriptors that the user has passed */
	unsigned fd_count;
	int fds[];
};

int reaper_new(sd_event *event, struct reaper **reaper);

/* Wait a moment for what is being closed, and free everything that nothing is stuck in. */
void reaper_free(struct reaper *reaper);

/* Whether so much of a user's waits to be closed, or so long already, that he is to get no more sessions and may
 * pass no more descriptors. */
bool reaper_overloaded(const struct user *user);

/* Room for so many descriptors; NULL when memory is short: then there is nothing for it but to close them here. */
struct reaping *reaping_new(struct user *user, unsigned fds);
void reaper_submit(struct reaper *reaper, struct reaping *reaping);

/* Close descriptors, and forget them: the array is filled with -1. */
void reaper_close(struct reaper *reaper, struct user *user, int *fds, unsigned count);

/* Whether messages wait in a socket to be received, be they empty. */
bool reaper_finds_messages(int socket);

/* Close a socket that has been shut down: here, if nothing is left in it that would be closed with it. -1: there is
 * none. */
void reaper_close_socket(struct reaper *reaper, struct user *user, int socket);

#endif
