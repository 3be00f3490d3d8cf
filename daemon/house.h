/* SPDX-License-Identifier: BSD-3-Clause */
/* What the threads of the daemon share: the event loop's, and one for each user. */
#ifndef VDM_DAEMON_HOUSE_H
#define VDM_DAEMON_HOUSE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "proto/status.h"
#include "spawner.h"
#include "user.h"

struct clerk;
struct config;
struct engine;
struct files;
struct filing;
struct session;

struct house {
	struct engine *engine;
	struct spawner spawner;
	struct files *files; /* of a filer; NULL in the daemon */
	int holes_fd;        /* holes.h; negative: the system does not allow it */
	uint64_t began_ns;   /* CLOCK_MONOTONIC */

	/* Guards what follows, all books, and the lists of users, sessions, rings. It is held for
	 * moments, and never over a call that a client could make slow. */
	pthread_mutex_t lock;
	pthread_cond_t clerk_gone;
	const struct config *config; /* in force */
	struct users users;
	TAILQ_HEAD(, session) sessions; /* by number */
	uint64_t sessions_made;
	uint32_t sessions_open; /* of those in the list, the ones that hold something */
	LIST_HEAD(, clerk) clerks;
	LIST_HEAD(, filing) filings;         /* those that have a filer */
	struct vdm_report_files files_ended; /* what filers have done that are gone */
	int32_t io_uring;                    /* as in struct vdm_report_files, of the first filer */
	bool stopping;                       /* the daemon ends the sessions, not the clients */
	uint64_t accepted, refused, violated;
	struct vdm_report_counters ended; /* of rings that are gone */
	struct vdm_report_counters done;  /* of all rings, when they were last added up */
};

static inline void house_lock(struct house *house)
{
	pthread_mutex_lock(&house->lock);
}

static inline void house_unlock(struct house *house)
{
	pthread_mutex_unlock(&house->lock);
}

#endif
