/* SPDX-License-Identifier: BSD-3-Clause */
/* Asking a daemon for its counters. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cancellation.h"
#include "conversation.h"
#include "error.h"
#include "libvdm/ring.h"
#include "libvdm/status.h"
#include "options.h"
#include "proto/status.h"

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

/* Read the whole file of a report into memory that is the caller's to free. */
static int read_report(int fd, size_t size, char **report)
{
	char *bytes = malloc(size);
	size_t have = 0;

	if (!bytes)
		return -ENOMEM;
	while (have < size) {
		ssize_t got = pread(fd, bytes + have, size - have, (off_t)have);

		if (got <= 0) {
			free(bytes);
			return -EPROTO;
		}
		have += (size_t)got;
	}
	*report = bytes;
	return 0;
}

static int translate(const char *bytes, size_t size, struct vdm_status **translated)
{
	struct vdm_report_daemon daemon;

	if (size < sizeof daemon)
		return -EPROTO;
	memcpy(&daemon, bytes, sizeof daemon);
	if (daemon.size < sizeof daemon || daemon.size > size ||
	    daemon.session_size < sizeof(struct vdm_report_session) ||
	    daemon.session_count > (size - daemon.size) / daemon.session_size)
		return -EPROTO;

	struct vdm_status *status =
		calloc(1,
		       sizeof *status + daemon.session_count * sizeof(struct vdm_status_session));

	if (!status)
		return -ENOMEM;
	memcpy(status->version, daemon.version, sizeof status->version);
	status->version[sizeof status->version - 1] = '\0';
	status->pid = daemon.pid;
	status->workers = daemon.workers;
	status->workers_awake = daemon.workers_awake;
	status->uptime_ns = daemon.uptime_ns;
	status->sessions_accepted = daemon.sessions_accepted;
	status->sessions_refused = daemon.sessions_refused;
	status->sessions_violated = daemon.sessions_violated;
	status->mapped_bytes = daemon.mapped_bytes;
	status->wakeups = daemon.wakeups;
	status->sessions = daemon.sessions;
	status->rings = daemon.rings;
	status->regions = daemon.regions;
	status->counts = counts_from(&daemon.counters);
	status->session_count = daemon.session_count;
	for (uint32_t i = 0; i < daemon.session_count; i++) {
		struct vdm_status_session *to = &status->session[i];
		struct vdm_report_session from;

		memcpy(&from, bytes + daemon.size + (size_t)i * daemon.session_size, sizeof from);
		to->pid = from.pid;
		to->uid = from.uid;
		to->rings = from.rings;
		to->regions = from.regions;
		to->mapped_bytes = from.mapped_bytes;
		to->in_flight = from.in_flight;
		to->age_ns = from.age_ns;
		to->counts = counts_from(&from.counters);
		memcpy(to->command, from.command, sizeof to->command);
		to->command[sizeof to->command - 1] = '\0';
	}
	*translated = status;
	return 0;
}

int vdm_status_read(const char *socket, struct vdm_status **status)
{
	struct vdm_message_status request = {.header = {VDM_MESSAGE_STATUS, sizeof request}};
	struct vdm_message_welcome welcome;
	struct vdm_packet reply;
	WITHOUT_CANCELLATION;
	int fd = conversation_open(conversation_path(socket), ANSWER_TIMEOUT_MS, &welcome);

	if (fd < 0)
		return fd;

	int result = conversation_ask_stranger(fd, ANSWER_TIMEOUT_MS, &request.header,
					       VDM_MESSAGE_STATUS_REPLY, 1, &reply);

	if (result) {
		close(fd);
		return result;
	}

	size_t size = reply.message.status_reply.size;
	char *bytes = NULL;

	result = read_report(reply.fds[0], size, &bytes);
	vdm_packet_close(&reply);
	close(fd); /* at the end of the session vdmd empties the report */
	if (!result)
		result = translate(bytes, size, status);
	free(bytes);
	if (result == -ENOMEM)
		return fail(-ENOMEM, "out of memory");
	if (result)
		return fail(result, "vdmd's report is not one that this library (%s) understands",
			    VDM_VERSION);
	return 0;
}
