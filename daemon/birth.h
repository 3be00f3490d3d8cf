/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The birth of a porter or a filer: the spawner tells it on the child's socket, before the child
 * can say anything there. So the clerk knows which process it talks to, whatever that says later.
 */
#ifndef VDM_DAEMON_BIRTH_H
#define VDM_DAEMON_BIRTH_H

#include <stdbool.h>
#include <sys/types.h>

struct born {
	int directory; /* of the process in proc(5) */
	int pidfd;
};

/* Tell that `child` has been born. Returns whether that has succeeded. */
bool birth_announce(int socket, pid_t child);

/*
 * Receive that, and have the kernel let the process send no descriptors. Returns 0, and the
 * descriptors are the caller's; -EAGAIN: it has not come; or another negative errno.
 */
int birth_receive(int socket, struct born *born);

#endif
