/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A porter: the process that deals with one user's clients in the daemon's stead. It receives their
 * messages and closes their descriptors. The kernel may let it wait for any of that, for as long as
 * the user likes: the user waits for its own porter, and no other user does. It maps nothing, opens
 * nothing, and is told what to answer (proto/porter.h).
 */
#ifndef VDM_DAEMON_PORTER_H
#define VDM_DAEMON_PORTER_H

#include <systemd/sd-event.h>

struct porter;

/* One that talks with the daemon on that socket, in the event loop that it has. NULL: no memory. */
struct porter *porter_new(int daemon);

/* Be one until the daemon hangs up. Does not return. */
_Noreturn void porter_main(int daemon);

/* What it waits for. */
sd_event *porter_event(const struct porter *porter);

#endif
