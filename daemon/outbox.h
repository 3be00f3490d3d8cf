/* SPDX-License-Identifier: BSD-3-Clause */
/* What a porter tells the daemon. What there is no room for waits here. */
#ifndef VDM_DAEMON_OUTBOX_H
#define VDM_DAEMON_OUTBOX_H

#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "proto/porter.h"

struct unsent;

struct outbox {
	int daemon; /* socket */
	sd_event_source
		*on_daemon; /* of that socket; EPOLLOUT is asked for while something waits */
	STAILQ_HEAD(, unsent) unsent;
};

void outbox_init(struct outbox *outbox, int daemon, sd_event_source *on_daemon);

/* Send a message, or keep a copy. What cannot be done at all ends the process. */
void outbox_tell(struct outbox *outbox, const struct porter_message *message);

/* There is room: send what waits. Returns 0, or a negative errno if something still does. */
int outbox_send_rest(struct outbox *outbox);

/* The porter cannot go on: the kernel ends it, and lets nothing linger. The daemon notices. */
_Noreturn void outbox_give_up(void);

#endif
