/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Closing what a client may have made slow to close, away from the event loop. The last close(2) of
 * a TCP socket waits for as long as the client's SO_LINGER says, and that of a file on FUSE for the
 * file's server. Punching out a file's pages waits for a lock that the client may hold.
 *
 * Threads are started as they are needed. Only a few of them work for one user, so that this user
 * delays no other. When too many descriptors of one user wait, a thread with its own copy of the
 * descriptor table keeps them, see reaper.c.
 */
#ifndef VDM_DAEMON_REAPER_H
#define VDM_DAEMON_REAPER_H

#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>

struct reaper;
struct reaper_job;
struct user;

int reaper_new(sd_event *event, struct reaper **reaper);

/* Wait a moment for what is being closed, and free everything that no thread is stuck in. */
void reaper_free(struct reaper *reaper);

/*
 * Whether a user has so many jobs, or has waited so long for one, that it gets no session and may
 * pass no descriptor.
 */
bool reaper_overloaded(const struct user *user);

/*
 * A job for a user; NULL: for none. It has room for `fds` descriptors and two mappings. Returns
 * NULL when memory is short: then the caller has to unmap and close.
 */
struct reaper_job *reaper_job_new(struct user *user, unsigned fds);

/*
 * To be unmapped. With `empty`, its pages are first punched out of its file, which the client may
 * keep open.
 */
void reaper_job_add_memory(struct reaper_job *job, void *base, size_t size, bool empty);

/* To be closed, after all memory is unmapped. */
void reaper_job_add_fd(struct reaper_job *job, int fd);

/* Do the job, which is the reaper's from now on. */
void reaper_submit(struct reaper *reaper, struct reaper_job *job);

/*
 * Close descriptors that a client has passed. They count as the user's until then. The array is
 * filled with -1.
 */
void reaper_close(struct reaper *reaper, struct user *user, int *fds, unsigned count);

/* Whether messages, which may be empty ones, wait in a socket. */
bool reaper_finds_messages(int socket);

/*
 * Close a socket that has been shut down: at once, if it holds no message with descriptors. -1:
 * there is no socket.
 */
void reaper_close_socket(struct reaper *reaper, struct user *user, int socket);

#endif
