/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The spawner: a small process with one thread, from which porters and filers are forked. The
 * daemon itself has threads, and maps clients' memory, which its children would inherit.
 *
 * It also gets rid of connections for which there is no porter. Closing a socket closes the
 * descriptors in the messages that were not received, in the thread that closes it, and a socket
 * among them may linger for as long as a client likes; but nothing lingers at the exit of a process
 * (socket(7)). So a child of its own hangs up on each of them, and exits.
 */
#ifndef VDM_DAEMON_SPAWNER_H
#define VDM_DAEMON_SPAWNER_H

#include <stdbool.h>

#include "proto/control.h"

struct spawner {
	int births, refusals; /* sockets to it; -1: none */
	bool owes_go;         /* it does not know yet that we have closed a socket */
};

enum spawner_kind { SPAWNER_PORTER, SPAWNER_FILER, SPAWNER_KINDS };

/* What a process of each kind runs, which does not return: porter_main() and filer_main(). */
typedef void (*spawner_mains[SPAWNER_KINDS])(int socket);

/*
 * Fork it: before any thread is started, and before descriptors are opened that it is not to have.
 * Returns 0 or a negative errno.
 */
int spawner_start(struct spawner *spawner, const spawner_mains *mains);

/* It ends when this is called, or the daemon ends. */
void spawner_stop(struct spawner *spawner);

/*
 * Have a process of that kind forked that talks on `socket`, on which its birth comes first, see
 * birth.h. The socket stays the caller's to close. Returns 0, or a negative errno; -EAGAIN: it is
 * busy. Any thread.
 */
int spawner_new_process(const struct spawner *spawner, enum spawner_kind kind, int socket);

/*
 * Have a client told `refused`, and hung up on. Returns 0, and then the socket is closed; or a
 * negative errno; -EAGAIN: it is busy.
 */
int spawner_refuse(struct spawner *spawner, int socket, const struct vdm_message_refused *refused);

/* Send what there was no room for. Returns 0 or -EAGAIN. */
int spawner_flush(struct spawner *spawner);

#endif
