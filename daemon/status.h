/* SPDX-License-Identifier: BSD-3-Clause */
/* Figures for observers, in the format of proto/status.h. */
#ifndef VDM_DAEMON_STATUS_H
#define VDM_DAEMON_STATUS_H

#include <stdint.h>
#include <sys/types.h>

struct server;

/*
 * Write a report into a memory file, with those sessions that `reader` may see. Returns a descriptor of it for reading
 * only, which is the caller's, and stores where it is mapped, and its size; or a negative errno.
 */
int status_report(struct server *server, uid_t reader, void **memory, uint64_t *size);

#endif
