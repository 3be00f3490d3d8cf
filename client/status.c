/* SPDX-License-Identifier: BSD-3-Clause */
/* Asking a daemon for its counters. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cancellation.h"
#include "conversation.h"
#include "error.h"
#include "libvdm/ring.h"
#include "libvdm/status.h"
#include "options.h"

static struct vdm_status_counts counts_from(const struct vdm_report_counters *report)
{
	return (struct vdm_status_counts){
		.nop = report->operations[VDM_OP_NOP],
		.memcpy = report->operations[VDM_OP_MEMCPY],
		.memmove = report->operations[VDM_OP_MEMMOVE],
		.memset = report->operations[VDM_OP_MEMSET],
		.flush = report->operations[VDM_OP_FLUSH],
		.failed = report->failed,
		.bytes = report->bytes,
	};
}

static struct vdm_status_session session_from(const struct vdm_report_session *report)
{
	struct vdm_status_session session = {
		.pid = report->pid,
		.uid = report->uid,
		.rings = report->rings,
		.regions = report->regions,
		.mapped_bytes = report->mapped_bytes,
		.in_flight = report->in_flight,
		.age_ns = report->age_ns,
		.counts = counts_from(&report->counters),
	};

	static_assert(sizeof session.command == sizeof report->command, "copied");
	memcpy(session.command, report->command, sizeof session.command);
	session.command[sizeof session.command - 1] = '\0';
	return session;
}

static struct vdm_status totals_from(const struct vdm_report_daemon *report)
{
	struct vdm_status totals = {
		.pid = report->pid,
		.workers = report->workers,
		.workers_awake = report->workers_awake,
		.uptime_ns = report->uptime_ns,
		.sessions_accepted = report->sessions_accepted,
		.sessions_refused = report->sessions_refused,
		.sessions_violated = report->sessions_violated,
		.mapped_bytes = report->mapped_bytes,
		.wakeups = report->wakeups,
		.sessions = report->sessions,
		.rings = report->rings,
		.regions = report->regions,
		.counts = counts_from(&report->counters),
		.files = {.operations = report->files.operations,
			  .bytes = report->files.bytes,
			  .syncs = report->files.syncs,
			  .processes = report->files.filers,
			  .io_uring = report->files.io_uring},
	};

	static_assert(sizeof totals.version == sizeof report->version, "copied");
	memcpy(totals.version, report->version, sizeof totals.version);
	totals.version[sizeof totals.version - 1] = '\0';
	return totals;
}

/* Append the sessions of a reply; *status may move. Returns 0 or -ENOMEM. */
static int append(struct vdm_status **status, const struct vdm_message_status_reply *reply)
{
	const uint32_t before = *status ? (*status)->session_count : 0;
	struct vdm_status *grown =
		realloc(*status, sizeof *grown + (before + reply->session_count) *
							 sizeof(struct vdm_status_session));

	if (!grown)
		return -ENOMEM;
	if (!*status)
		*grown = totals_from(&reply->daemon);
	for (uint32_t i = 0; i < reply->session_count; i++)
		grown->session[before + i] = session_from(&reply->sessions[i]);
	grown->session_count = before + reply->session_count;
	*status = grown;
	return 0;
}

/* Ask for all sessions, a few at a time. */
static int read_all(int socket, struct vdm_status **status)
{
	struct vdm_message_status request = {.header = {VDM_MESSAGE_STATUS, sizeof request}};
	const struct vdm_message_status_reply *reply;
	struct vdm_packet answer;
	int result;

	reply = &answer.message.status_reply;
	do {
		result = conversation_ask_stranger(socket, ANSWER_TIMEOUT_MS, &request.header,
						   VDM_MESSAGE_STATUS_REPLY, 0, &answer);
		if (result)
			return result;
		if (answer.size != sizeof *reply || reply->session_count > VDM_STATUS_SESSIONS)
			return fail(-EPROTO,
				    "vdmd's report is not one that this library (%s) understands",
				    VDM_VERSION);
		if (append(status, reply))
			return fail(-ENOMEM, "out of memory");
		if (reply->session_count > 0)
			request.after = reply->sessions[reply->session_count - 1].number;
	} while (reply->session_count == VDM_STATUS_SESSIONS);
	return 0;
}

int vdm_status_read(const char *socket, struct vdm_status **status)
{
	struct vdm_message_welcome welcome;
	struct vdm_status *read = NULL;
	WITHOUT_CANCELLATION;
	int fd = conversation_open(conversation_path(socket), ANSWER_TIMEOUT_MS, &welcome);

	if (fd < 0)
		return fd;

	int result = read_all(fd, &read);

	close(fd);
	if (result)
		free(read);
	else
		*status = read;
	return result;
}
