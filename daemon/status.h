/* SPDX-License-Identifier: BSD-3-Clause */
/* Figures for observers, in the format of proto/status.h. */
#ifndef VDM_DAEMON_STATUS_H
#define VDM_DAEMON_STATUS_H

#include <stdint.h>
#include <sys/types.h>

struct session_host;

/*
 * Write a report into a memory file, with the sessions that `reader` may see. Returns a read-only
 * descriptor of the file, which is the caller's, and stores its mapping and size; or returns a
 * negative errno.
 */
int status_report(const struct session_host *host, uid_t reader, void **memory, uint64_t *size);

#endif
