/* SPDX-License-Identifier: BSD-3-Clause */
/* The messages of clients. */
#ifndef VDM_DAEMON_REQUEST_H
#define VDM_DAEMON_REQUEST_H

struct session;
struct vdm_packet;

/*
 * Handle one message. Returns 0; -EPROTO, with the reason, if it breaks the protocol; or another
 * negative errno if the client does not read the answer. Takes what it needs of the packet's
 * descriptors.
 */
int request_handle(struct session *session, struct vdm_packet *packet, const char **reason);

#endif
