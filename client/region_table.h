/* SPDX-License-Identifier: BSD-3-Clause */
/* The regions of a client, and making them known to its daemon. */
#ifndef VDM_CLIENT_REGION_TABLE_H
#define VDM_CLIENT_REGION_TABLE_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/queue.h>

#include "connection.h"

struct vdm_region;

struct region_table {
	struct connection *connection;
	/* A thread that changes it holds the connection's `talk` and `lock`. */
	LIST_HEAD(, vdm_region) regions;
	LIST_HEAD(, vdm_region) files; /* regions of files, of which the daemon is not told */
	/* How often the regions or the connection have changed. release; partner:
	 * region_view_refresh() */
	_Atomic uint32_t changes;
};

/* The caller of these holds the connection's `talk`. */

/* Announce all regions to a daemon that knows none. A region that it refuses stays in the local
 * lane. */
void region_table_announce(struct region_table *table);

/* Announce a region, if there is a daemon, and add it. Returns 0 or a negative errno with its
 * sentence. */
int region_table_add(struct region_table *table, struct vdm_region *region);

/* Add a region of a file. */
void region_table_add_file(struct region_table *table, struct vdm_region *region);

/* Of either kind. The caller holds the connection's `lock` too. */
void region_table_remove(struct region_table *table, struct vdm_region *region);

#endif
