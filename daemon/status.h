/* SPDX-License-Identifier: BSD-3-Clause */
/* Figures for observers, in the format of proto/status.h. */
#ifndef VDM_DAEMON_STATUS_H
#define VDM_DAEMON_STATUS_H

#include <stdint.h>
#include <sys/types.h>

struct server;

/*
 * Write a report into a sealed memory file, with those sessions that `reader` may see. Returns its descriptor,
 * which is the caller's, and stores its size; or a negative errno.
 */
int status_report(struct server *server, uid_t reader, uint64_t *size);

#endif
