/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which region a pointer lies in. A ring has its own copy of the client's regions, sorted by address, so that a look-up
 * takes no lock. The copy is brought up to date when the client's table has changed.
 */
#ifndef VDM_CLIENT_REGION_VIEW_H
#define VDM_CLIENT_REGION_VIEW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "region_table.h"

struct region_extent {
	uintptr_t begin, end;
	uint32_t id;                   /* that the daemon knows it by */
	bool writable;
};

/* Mostly a program's destinations lie in one region and its sources in another: each has a last hit of its own. */
enum region_use { REGION_DESTINATION, REGION_SOURCE };

struct region_view {
	uint32_t changes;              /* of the table, when it was copied */
	uint32_t count;                /* regions that the daemon knows through the ring's connection */
	uint32_t constant;             /* regions that may only be read, known to the daemon or not */
	uint32_t capacity;             /* the constant ones begin at this index */
	uint32_t last[2];              /* where the last look-up succeeded, by enum region_use */
	struct region_extent *extents; /* twice the capacity */
};

void region_view_copy(struct region_view *view, struct region_table *table, uint32_t connection);

/*
 * Bring the view up to date. `connection` is the number of the ring's connection, whose ids are wanted. On failure (no
 * memory) the view is empty.
 */
static inline void region_view_refresh(struct region_view *view, struct region_table *table, uint32_t connection)
{
	/* acquire; partner: table_changed() */
	if (atomic_load_explicit(&table->changes, memory_order_acquire) != view->changes || !view->extents)
		region_view_copy(view, table, connection);
}

bool region_view_forbids_some(const struct region_view *view, const void *address, size_t length);

/* Whether a store to that memory would hit a region that may only be read. */
static inline bool region_view_forbids(const struct region_view *view, const void *address, size_t length)
{
	return view->constant > 0 && region_view_forbids_some(view, address, length);
}

static inline bool extent_holds(const struct region_extent *extent, uintptr_t begin, size_t length)
{
	return begin >= extent->begin && begin <= extent->end && length <= extent->end - begin;
}

/* The extent that holds all of [address, address + length), or NULL. */
const struct region_extent *region_view_search(struct region_view *view, enum region_use use,
					       const void *address, size_t length);

static inline const struct region_extent *region_view_find(struct region_view *view, enum region_use use,
							   const void *address, size_t length)
{
	uint32_t last = view->last[use];

	if (last < view->count && extent_holds(&view->extents[last], (uintptr_t)address, length))
		return &view->extents[last];
	return region_view_search(view, use, address, length);
}

#endif
