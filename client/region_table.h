/* SPDX-License-Identifier: BSD-3-Clause */
/* The regions of a client, and making them known to its daemon. */
#ifndef VDM_CLIENT_REGION_TABLE_H
#define VDM_CLIENT_REGION_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "connection.h"

struct activities;
struct vdm_region;

struct region_table {
	struct connection *connection;
	struct activities *activities; /* of the client's rings */
	/* A thread that changes it holds the connection's `talk` and `lock`. */
	LIST_HEAD(, vdm_region) regions;
	LIST_HEAD(, vdm_region) files; /* regions of files, of which the filer alone is told */
	uint32_t numbered; /* the number of the newest region; guarded as the lists are */
	/* Regions that a daemon has refused that came later. Guarded by the connection's `lock`. */
	uint64_t refused;
	/* How often the regions or the connection have changed. release; partner:
	 * region_view_refresh() */
	_Atomic uint32_t changes;
};

/*
 * Whether memory lies in a region of either kind, known to the daemon or not. Regions newer than
 * number `newest` do not count: they may have the addresses of one that has been released.
 */
bool region_table_holds(struct region_table *table, uint32_t newest, const void *address,
			size_t length);

/* The caller of these holds the connection's `talk`. */

/* Announce all regions to a daemon that knows none. A region that it refuses stays in the local
 * lane. */
void region_table_announce(struct region_table *table);

/* Announce a region, if there is a daemon, and add it. Returns 0 or a negative errno with its
 * sentence. */
int region_table_add(struct region_table *table, struct vdm_region *region);

/* Add a region that stands for one of another client, with the same memory. If the other side
 * refuses it, it has no number there. */
void region_table_add_copy(struct region_table *table, struct vdm_region *region);

/* Add a region of a file. */
void region_table_add_file(struct region_table *table, struct vdm_region *region);

/*
 * Take out a region of either kind, and have the daemon let go of it. On return no thread of this
 * process uses it any more, except through pointers of the program, and the daemon never touches it
 * again. The caller holds no lock, and is no forked child.
 */
void region_table_withdraw(struct region_table *table, struct vdm_region *region);

#endif
