/* SPDX-License-Identifier: BSD-3-Clause */
#include "status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "memfd.h"
#include "engine/engine.h"
#include "session.h"

static int may_see(const struct session *session, uid_t reader)
{
	return reader == 0 || reader == geteuid() || reader == session->peer.uid;
}

static void fill_session(const struct session *session, struct vdm_report_session *report)
{
	report->pid = (uint32_t)session->peer.pid;
	report->uid = session->peer.uid;
	report->rings = (uint32_t)session->book.used[RESOURCE_RINGS];
	report->regions = (uint32_t)session->book.used[RESOURCE_REGIONS];
	report->mapped_bytes = session->book.used[RESOURCE_MAPPED_BYTES];
	report->age_ns = monotonic_ns() - session->began_ns;
	session_counters(session, &report->counters, &report->in_flight);
	memcpy(report->command, session->peer.command, sizeof report->command);
}

static void fill_daemon(const struct session_host *host, struct vdm_report_daemon *report)
{
	const uint64_t *used = host->users.book.used;
	const struct session *session;

	report->size = sizeof *report;
	report->session_size = sizeof(struct vdm_report_session);
	report->pid = (uint32_t)getpid();
	report->workers = engine_workers(host->engine);
	report->workers_awake = engine_awake(host->engine);
	report->uptime_ns = monotonic_ns() - host->began_ns;
	report->sessions_accepted = host->accepted;
	report->sessions_refused = host->refused;
	report->sessions_violated = host->violated;
	report->mapped_bytes = used[RESOURCE_MAPPED_BYTES];
	report->wakeups = engine_wakeups(host->engine);
	report->sessions = (uint32_t)used[RESOURCE_SESSIONS];
	report->rings = (uint32_t)used[RESOURCE_RINGS];
	report->regions = (uint32_t)used[RESOURCE_REGIONS];
	report->counters = host->ended;
	LIST_FOREACH(session, &host->sessions, entry) {
		struct vdm_report_counters counters;
		uint64_t in_flight;

		session_counters(session, &counters, &in_flight);
		report_counters_add(&report->counters, &counters);
	}
	snprintf(report->version, sizeof report->version, "%s", VDM_VERSION);
}

int status_report(const struct session_host *host, uid_t reader, void **memory, uint64_t *size)
{
	const size_t most =
		sizeof(struct vdm_report_daemon) +
		host->users.book.used[RESOURCE_SESSIONS] * sizeof(struct vdm_report_session);
	struct vdm_report_daemon *report = calloc(1, most);
	const struct session *session;

	if (!report)
		return -ENOMEM;
	fill_daemon(host, report);

	struct vdm_report_session *next = (struct vdm_report_session *)(report + 1);

	LIST_FOREACH(session, &host->sessions, entry) {
		if (!may_see(session, reader))
			continue;
		fill_session(session, next++);
		report->session_count++;
	}

	const size_t bytes = (size_t)((char *)next - (char *)report);
	int fd = memfd_make("vdm-status", bytes, memory), read_only = fd;

	if (fd >= 0) {
		memcpy(*memory, report, bytes);
		read_only = memfd_open_read_only(fd);
		if (read_only < 0)
			munmap(*memory, bytes);
		close(fd);
	}
	free(report);
	*size = bytes;
	return read_only;
}
