/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VDM_DAEMON_FILER_JAIL_H
#define VDM_DAEMON_FILER_JAIL_H

/*
 * From now on this process, with all of its threads, may use the descriptors that it has or
 * receives, memory of its own within limits, and threads, and nothing else: it can open nothing,
 * and touch no other process. Returns 0 or a negative errno.
 */
int filer_jail(void);

#endif
