/* SPDX-License-Identifier: BSD-3-Clause */
/* What a running daemon counts: for vdmctl(1) and other observers. */
#ifndef LIBVDM_STATUS_H
#define LIBVDM_STATUS_H

#include <stdint.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Completed operations by kind, failures and bytes, since the session or the daemon began. */
struct vdm_status_counts {
	uint64_t nop, memcpy, memmove, memset, flush; /* completed with 0 */
	uint64_t failed;                              /* completed with an error */
	uint64_t bytes;                               /* moved or set */
};

/* Operations on files that the daemon has had carried out, by a process for each user. */
struct vdm_status_files {
	uint64_t operations; /* completed with 0, since the daemon began */
	uint64_t bytes;      /* read or written */
	uint64_t syncs;      /* calls of fdatasync(2) */
	uint32_t processes;  /* now */
	int32_t io_uring;    /* 1: it is used; negative errno: why not; 0: not known yet */
};

struct vdm_status_session {
	uint32_t pid, uid;
	uint32_t rings, regions;
	uint64_t mapped_bytes;
	uint64_t in_flight; /* operations */
	uint64_t age_ns;
	struct vdm_status_counts counts;
	char command[16]; /* what the client calls itself: a hint */
};

struct vdm_status {
	char version[16];
	uint32_t pid;
	uint32_t workers, workers_awake;
	uint64_t uptime_ns;
	uint64_t sessions_accepted, sessions_refused, sessions_violated;
	uint64_t mapped_bytes;
	uint64_t wakeups;                  /* of workers */
	uint32_t sessions, rings, regions; /* now, of all users */
	struct vdm_status_counts counts;   /* all users, ended sessions included */
	struct vdm_status_files files;
	uint32_t session_count; /* of the following: those of this user, or all */
#ifdef __cplusplus
#pragma GCC diagnostic push
/* C++ has no flexible array member, though compilers do */
#pragma GCC diagnostic ignored "-Wpedantic"
#endif
	struct vdm_status_session session[];
#ifdef __cplusplus
#pragma GCC diagnostic pop
#endif
};

/*
 * Ask the daemon at `socket` (NULL: as for vdm_client_open) for its figures. Root and the daemon's
 * user get all sessions, other users those of their own user id. Stores an object for free(3).
 * Returns 0 or a negative errno; vdm_last_error() has a sentence. Thread-safe.
 */
int vdm_status_read(const char *socket, struct vdm_status **status);

#ifdef __cplusplus
}
#endif
#endif
