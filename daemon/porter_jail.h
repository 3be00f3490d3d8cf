/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VDM_DAEMON_PORTER_JAIL_H
#define VDM_DAEMON_PORTER_JAIL_H

/*
 * From now on this process may use the descriptors that it has or receives, and memory of its own
 * within limits, and nothing else: it can open nothing, and touch no other process. So a porter
 * that its user has taken over can only ask the daemon. Returns 0 or a negative errno.
 */
int porter_jail(void);

#endif
