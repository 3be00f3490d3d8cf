/* SPDX-License-Identifier: BSD-3-Clause */
#include "status.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "filing.h"
#include "house.h"
#include "proto/control.h"
#include "ring.h"
#include "session.h"
#include "tally.h"

/* How often a user may have all rings added up, with the house's lock held. */
#define TOTALS_NS       5000000
#define TOTALS_IN_A_ROW 100

static int may_see(const struct session *session, uid_t reader)
{
	return session->is_open &&
	       (reader == 0 || reader == geteuid() || reader == session->peer.uid);
}

/* What its rings have done since it began. Returns how many of their operations are in flight. */
static uint64_t count(const struct session *session, struct vdm_report_counters *counters)
{
	const struct ring *ring;
	uint64_t in_flight = 0;

	tally_add(counters, &session->ended);
	LIST_FOREACH(ring, &session->rings, entry) {
		struct engine_counters of_ring;

		if (!ring->queue)
			continue; /* it has not been started */
		engine_queue_counters(ring->queue, &of_ring);
		tally_add_engine(counters, &of_ring);
		in_flight += of_ring.in_flight;
	}
	return in_flight;
}

static struct vdm_report_session report_session(const struct session *session)
{
	struct vdm_report_session report = {
		.number = session->number,
		.pid = (uint32_t)session->peer.pid,
		.uid = session->peer.uid,
		.rings = (uint32_t)session->book.used[RESOURCE_RINGS],
		.regions = (uint32_t)session->book.used[RESOURCE_REGIONS],
		.mapped_bytes = session->book.used[RESOURCE_MAPPED_BYTES],
		.age_ns = monotonic_ns() - session->began_ns,
	};

	report.in_flight = count(session, &report.counters);
	memcpy(report.command, session->peer.command, sizeof report.command);
	return report;
}

static struct vdm_report_files report_files(const struct house *house)
{
	struct vdm_report_files report = house->files_ended;
	const struct filing *filing;

	report.io_uring = house->io_uring;
	LIST_FOREACH(filing, &house->filings, entry) {
		tally_add_files(&report, filing->counters);
		report.filers++;
	}
	return report;
}

/* All of it but what the sessions' rings have done. */
static struct vdm_report_daemon report_daemon(const struct house *house)
{
	const uint64_t *used = house->users.book.used;
	struct vdm_report_daemon report = {
		.pid = (uint32_t)getpid(),
		.workers = engine_workers(house->engine),
		.uptime_ns = monotonic_ns() - house->began_ns,
		.sessions_accepted = house->accepted,
		.sessions_refused = house->refused,
		.sessions_violated = house->violated,
		.mapped_bytes = used[RESOURCE_MAPPED_BYTES],
		.wakeups = engine_wakeups(house->engine),
		.sessions = house->sessions_open,
		.rings = (uint32_t)used[RESOURCE_RINGS],
		.regions = (uint32_t)used[RESOURCE_REGIONS],
		.counters = house->ended,
		.files = report_files(house),
	};

	snprintf(report.version, sizeof report.version, "%s", VDM_VERSION);
	return report;
}

/* A user may have all rings added up so often in a row, and then once in TOTALS_NS. */
static bool may_add_up(struct user *user, uint64_t now)
{
	const uint64_t more = (now - user->totals_ns) / TOTALS_NS;

	if (more > 0) {
		user->totals = more < TOTALS_IN_A_ROW - user->totals ? user->totals + more
								     : TOTALS_IN_A_ROW;
		user->totals_ns = now;
	}
	if (user->totals == 0)
		return false;
	user->totals--;
	return true;
}

void status_report(struct house *house, struct user *user, uid_t reader, uint64_t after,
		   struct vdm_message_status_reply *reply)
{
	const unsigned awake = engine_awake(house->engine);
	const uint64_t now = monotonic_ns();
	const struct session *session;

	*reply = (struct vdm_message_status_reply){
		.header = {VDM_MESSAGE_STATUS_REPLY, sizeof *reply}};
	house_lock(house);
	reply->daemon = report_daemon(house);
	reply->daemon.workers_awake = awake;

	/* the first answer has the totals; those that follow, sessions */
	const bool adds_up = after == 0 && may_add_up(user, now);

	TAILQ_FOREACH(session, &house->sessions, entry) {
		if (adds_up)
			count(session, &reply->daemon.counters);
		else if (reply->session_count == VDM_STATUS_SESSIONS)
			break;
		if (session->number > after && reply->session_count < VDM_STATUS_SESSIONS &&
		    may_see(session, reader))
			reply->sessions[reply->session_count++] = report_session(session);
	}
	if (adds_up)
		house->done = reply->daemon.counters;
	else if (after == 0)
		reply->daemon.counters = house->done;
	house_unlock(house);
}
