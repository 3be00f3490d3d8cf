/* SPDX-License-Identifier: BSD-3-Clause */
/* Rings that a daemon serves, or a filer. */
#ifndef VDM_CLIENT_RING_DAEMON_H
#define VDM_CLIENT_RING_DAEMON_H

#include "libvdm/client.h"
#include "libvdm/ring.h"

/*
 * Open a ring through the client's connection. Every field of the options is valid. Without a
 * connection the ring is not connected. Returns 0 or a negative errno with its sentence.
 */
int ring_daemon_open(struct vdm_client *client, const struct vdm_options *options,
		     struct vdm_ring **ring);

/*
 * Have another daemon serve a ring of which nothing is in flight. The caller holds the connection's
 * `talk`. Returns 0; or a negative errno with its sentence, and then the ring is not connected.
 */
int ring_daemon_renew(struct vdm_ring *ring);

/* Close it. It has no file lanes, and the caller is no forked child. */
void ring_daemon_close(struct vdm_ring *ring);

#endif
