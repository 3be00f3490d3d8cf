/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What VDM_MESSAGE_STATUS_REPLY tells. Counters count since the daemon or the session began. Root
 * and the daemon's own user see all sessions, any other user the sessions of its own user id; all
 * see the totals.
 */
#ifndef VDM_PROTO_STATUS_H
#define VDM_PROTO_STATUS_H

#include <assert.h>
#include <stdint.h>

/* Room for one counter per opcode, now and later. */
#define VDM_STATUS_OPCODES 16

struct vdm_report_counters {
	uint64_t operations[VDM_STATUS_OPCODES]; /* completed with 0, by opcode */
	uint64_t failed;                         /* completed with an error */
	uint64_t bytes;                          /* moved or set */
};
static_assert(sizeof(struct vdm_report_counters) == 144, "wire format");

/* Operations on files, by all filers. Each filer counts its own. */
struct vdm_report_files {
	uint64_t operations; /* completed with 0 */
	uint64_t bytes;      /* read or written */
	uint64_t syncs;      /* calls of fdatasync(2) */
	uint32_t filers;     /* now */
	int32_t io_uring;    /* 1: it is used; negative errno: why not; 0: not known yet */
};
static_assert(sizeof(struct vdm_report_files) == 32, "wire format");

struct vdm_report_daemon {
	uint32_t pid;
	uint32_t workers;
	uint32_t workers_awake;
	uint32_t reserved0; /* zero */
	uint64_t uptime_ns;
	uint64_t sessions_accepted; /* since start */
	uint64_t sessions_refused;  /* since start: not greeted, or over a limit */
	uint64_t sessions_violated; /* since start: ended for breaking the protocol */
	uint64_t mapped_bytes;      /* all regions, now */
	uint64_t wakeups;           /* times that a worker slept and was woken */
	uint32_t sessions;          /* now, of all users */
	uint32_t rings;             /* now */
	uint32_t regions;           /* now */
	uint32_t reserved1;         /* zero */
	struct vdm_report_counters counters;
	struct vdm_report_files files;
	char version[16]; /* of the daemon, NUL-terminated */
};
static_assert(sizeof(struct vdm_report_daemon) == 272, "wire format");

struct vdm_report_session {
	uint64_t number; /* higher than those of all sessions that began before */
	uint32_t pid;
	uint32_t uid;
	uint32_t rings;
	uint32_t regions;
	uint64_t mapped_bytes;
	uint64_t in_flight; /* operations */
	uint64_t age_ns;
	struct vdm_report_counters counters;
	char command[16]; /* what the client calls itself (HELLO), NUL-terminated; a hint */
};
static_assert(sizeof(struct vdm_report_session) == 208, "wire format");

#endif
