/* SPDX-License-Identifier: BSD-3-Clause */
/* Which region a pointer lies in. */
#ifndef VDM_CLIENT_REGION_INTERNAL_H
#define VDM_CLIENT_REGION_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client_internal.h"

struct region_extent {
	uintptr_t begin, end;
	uint32_t id;            /* that the daemon knows it by */
	bool writable;
};

/*
 * A ring's own copy of the regions that the daemon knows through its connection, and of those that may only be read
 * whether it knows them or not, sorted by address: so that looking one up takes no lock. Brought up to date when the
 * client's have changed.
 */
struct region_view {
	uint32_t changes;       /* of the client, when it was copied */
	uint32_t count;
	uint32_t constant;      /* how many may only be read; they lie behind `capacity` others */
	uint32_t capacity;
	uint32_t last[2];       /* where the last look-up of each kind succeeded */
	struct region_extent *extents; /* twice the capacity */
};

void region_view_copy(struct region_view *view, struct vdm_client *client, uint32_t connection);

/*
 * Bring the view up to date; `connection` is the ring's, whose ids are wanted. On failure (no memory) it is empty.
 */
static inline void region_view_refresh(struct region_view *view, struct vdm_client *client, uint32_t connection)
{
	/* acquire; partner: regions_changed() */
	if (atomic_load_explicit(&client->changes, memory_order_acquire) != view->changes || !view->extents)
		region_view_copy(view, client, connection);
}

bool region_view_forbids_some(const struct region_view *view, const void *address, size_t length);

/* Whether a store to that memory would be one to a region that may only be read. */
static inline bool region_view_forbids(const struct region_view *view, const void *address, size_t length)
{
	return view->constant > 0 && region_view_forbids_some(view, address, length);
}

/* The kinds of look-ups: mostly a program's destinations lie in one region and its sources in another. */
enum region_use { REGION_DESTINATION, REGION_SOURCE };

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
