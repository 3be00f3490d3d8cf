/* SPDX-License-Identifier: BSD-3-Clause */
/* The connection, as the parts of the library see it. */
#ifndef VDM_CLIENT_INTERNAL_H
#define VDM_CLIENT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "connection.h"
#include "libvdm/client.h"
#include "libvdm/ring.h"
#include "libvdm/status.h"
#include "proto/control.h"

/* What the counters of a ring are added up in; written by its thread, read by any. */
struct ring_counters {
	_Atomic uint64_t offloaded, offloaded_bytes;
	_Atomic uint64_t local_small, local_outside, local_disconnected, local_bytes, taken_back;
	_Atomic uint64_t failed, doorbells, sleeps;
};

struct vdm_region {
	struct vdm_client *client;
	LIST_ENTRY(vdm_region) entry; /* in client->regions */
	int fd;
	dev_t device;                 /* of the file, with its number: each can be a region once */
	ino_t file;
	char *address;
	size_t size;
	bool writable;
	bool mapped;                  /* by us: to be unmapped */
	uint32_t id;                  /* that the daemon gave it; 0: it does not know it. Guarded as the list is. */
};

LIST_HEAD(region_list, vdm_region);

struct vdm_client {
	uint32_t epoch;
	struct vdm_options options;   /* every field valid; socket is our copy */
	/* Two locks, taken in this order: `talk` is held for a conversation, which takes as long as the daemon likes, up to
	 * options.answer_timeout_ms; `lock` is held for moments only. Whoever changes what follows holds both, and
	 * so either is enough to read it. */
	pthread_mutex_t talk, lock;
	enum connection_state connection_state;
	int socket;                   /* -1: none */
	int error;                    /* why there is no connection */
	uint32_t connections;         /* how often it has been connected */
	struct region_list regions;
	/* How often the regions or the connection have changed. release; partner: a ring's acquire in
	 * region_view_refresh(). */
	_Atomic uint32_t changes;

	/* Guarded by `talk`: */
	struct vdm_message_welcome welcome;
	unsigned owed;                /* answers that nothing waits for any more, and that come before any other */

	/* Guarded by `lock`: */
	LIST_HEAD(, vdm_ring) rings;
	pthread_cond_t ring_left;     /* see ring_enter() */
	_Atomic unsigned leavers_awaited; /* threads that wait for that; relaxed; partner: ring_leave() */
	bool reaches_threads;         /* barrier_for_own_threads() does; constant */
	struct ring_counters ended;   /* of the rings that have been closed */
};

/* Copy the caller's options, of whatever size, over the defaults. */
int options_complete(const struct vdm_options *given, const struct vdm_options *defaults,
		     struct vdm_options *complete);

/* Have the daemon map a region, of a client whose `talk` is held. */
int region_register(struct vdm_region *region);

void counters_add(struct ring_counters *sum, const struct ring_counters *more);

#endif
