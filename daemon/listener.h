/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The socket that clients connect to. The service manager passes it (sd_listen_fds(3)), or it is
 * our own.
 */
#ifndef VDM_DAEMON_LISTENER_H
#define VDM_DAEMON_LISTENER_H

#include <stddef.h>
#include <sys/types.h>

struct listener {
	int fd;
	int lock_fd;      /* of the lock beside a socket of our own; else -1 */
	const char *path; /* of a socket of our own, to be removed; else NULL */
	dev_t device;     /* of the file at that path, so that no other file is removed */
	ino_t inode;
};

/*
 * Open the socket. `path` has to outlive the listener. Returns 0, or a negative errno with a
 * sentence in `error`.
 */
int listener_open(const char *path, struct listener *listener, char *error, size_t size);

/* Close it, and remove a socket of our own. A listener that has been closed is left alone. */
void listener_close(struct listener *listener);

/*
 * For a daemon that cannot serve: tell each client that connects in the next `seconds` why, if the
 * service manager has passed a socket. That socket stays when the daemon exits. A connection that
 * waited in it would start the daemon again at once, and again, until the service manager gives up
 * the socket (systemd.unit(5), StartLimitBurst=).
 */
void listener_turn_away(unsigned seconds, const char *text);

#endif
