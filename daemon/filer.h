/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A filer: the process that carries out one user's operations on files. A file system may let it
 * wait for as long as it likes: the user waits for its own filer, and no other user does. It has an
 * engine of its own, and receives its clients' messages itself (proto/control.h).
 */
#ifndef VDM_DAEMON_FILER_H
#define VDM_DAEMON_FILER_H

#include <systemd/sd-event.h>

struct filer;

/*
 * One that talks with the daemon on that socket, in the event loop that it has. Waits for the first
 * message. NULL: no memory or descriptors.
 */
struct filer *filer_new(int daemon);

/* What it waits for. */
sd_event *filer_event(const struct filer *filer);

/* Be one until the daemon hangs up. Does not return. */
_Noreturn void filer_main(int daemon);

#endif
