/* SPDX-License-Identifier: BSD-3-Clause */
/* Figures for observers, in the format of proto/status.h. */
#ifndef VDM_DAEMON_STATUS_H
#define VDM_DAEMON_STATUS_H

#include <stdint.h>
#include <sys/types.h>

struct house;
struct user;
struct vdm_message_status_reply;

/*
 * Fill in the totals, and the sessions that `reader` may see and that come after number `after`, as
 * many as there is room for. A user that asks all the time gets totals that are some milliseconds
 * old. Any thread, without the house's lock.
 */
void status_report(struct house *house, struct user *user, uid_t reader, uint64_t after,
		   struct vdm_message_status_reply *reply);

#endif
