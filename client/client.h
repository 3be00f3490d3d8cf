/* SPDX-License-Identifier: BSD-3-Clause */
/* A client: its options, its connection, and what its rings and regions have in common. */
#ifndef VDM_CLIENT_CLIENT_H
#define VDM_CLIENT_CLIENT_H

#include <stdint.h>
#include <sys/queue.h>

#include "activity.h"
#include "connection.h"
#include "counters.h"
#include "libvdm/client.h"
#include "region_table.h"

struct file_engine;

struct vdm_client {
	uint32_t epoch;             /* of the process, see fork.h */
	struct vdm_options options; /* every field valid; the string `socket` is the client's own */
	char *socket_path;          /* our copy, which options.socket points to */
	struct connection connection;
	struct region_table regions;
	/* Made with the first region of a file. A thread that sets it holds the connection's `talk`
	 * and `lock`; a ring that has found such a region needs neither to read it. */
	struct file_engine *file_engine;
	/* Our part of the daemon's filer, see filer.h. NULL: none has been wanted yet. */
	_Atomic(struct vdm_client *) filer;
	struct activities activities; /* of the rings */
	/* Guarded by connection.lock: */
	LIST_HEAD(, ring_counters) counters; /* of the rings */
	struct ring_counters ended;          /* sum of those of the rings that have been closed */
};

/* NULL: the client has none. Any thread may ask. */
static inline struct vdm_client *client_filer(struct vdm_client *client)
{
	/* acquire; partner: filer_open(), release */
	return atomic_load_explicit(&client->filer, memory_order_acquire);
}

/*
 * A client that is not connected yet. Every field of the options is valid. `daemon` is NULL, or the
 * connection of the client whose filer this one is for. Returns 0 or -ENOMEM with its sentence.
 */
int client_make(const struct vdm_options *options, struct connection *daemon,
		struct vdm_client **client);

#endif
