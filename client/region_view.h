/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which region a pointer lies in. A ring has its own copy of the client's regions, sorted by
 * address, so that a look-up takes no lock. The copy is brought up to date when the client's table
 * has changed.
 */
#ifndef VDM_CLIENT_REGION_VIEW_H
#define VDM_CLIENT_REGION_VIEW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "region_table.h"

struct region_extent {
	uintptr_t begin;
	size_t size;
	uint32_t id; /* that the daemon knows it by */
	bool writable;
	/* Of its file: several regions may have bytes in common there. */
	dev_t device;
	ino_t file;
	uint64_t offset;
};

/* Mostly a program's destinations lie in one region and its sources in another: each has a last hit
 * of its own. */
enum region_use { REGION_DESTINATION, REGION_SOURCE };

struct region_view {
	uint32_t changes;  /* of the table, when it was copied */
	uint32_t count;    /* regions that the daemon knows through the ring's connection */
	uint32_t newest;   /* number of the newest region that there has been among them */
	uint32_t constant; /* regions that may only be read, known to the daemon or not */
	uint32_t capacity; /* the constant ones begin at this index */
	bool flat;         /* there are no regions: the address is the offset in region 0 */
	struct region_extent *extents; /* twice the capacity */
	uint32_t file_count;           /* regions of files; mostly 0 */
	bool files_unknown;            /* no memory for them: any address may be in a file */
	struct region_extent *files;   /* by address; their ids mean nothing */
	/* Where look-ups succeeded last, by enum region_use. Never NULL. */
	const struct region_extent *last[2];
};

/* An empty view; a flat one is constant. */
void region_view_init(struct region_view *view, bool flat);
void region_view_destroy(struct region_view *view);

/* The next refresh is to copy the table, whether it has changed or not. */
void region_view_forget(struct region_view *view);

void region_view_copy(struct region_view *view, struct region_table *table, uint32_t connection);

/*
 * Bring the view up to date. `connection` is the number of the ring's connection, whose ids are
 * wanted. On failure (no memory) the view is empty, and any address may be in a file.
 */
static inline void region_view_refresh(struct region_view *view, struct region_table *table,
				       uint32_t connection)
{
	/* acquire; partner: table_changed() */
	if (atomic_load_explicit(&table->changes, memory_order_acquire) != view->changes)
		region_view_copy(view, table, connection);
}

/* Where a range lies, as regards files. */
enum file_share { FILE_SHARE_NONE, FILE_SHARE_ALL, FILE_SHARE_PART };

/* `*writable` is stored with FILE_SHARE_ALL. An empty range has a place, too. */
enum file_share region_view_file_share(const struct region_view *view, const void *address,
				       size_t length, bool *writable);

bool region_view_forbids_some(const struct region_view *view, const void *address, size_t length);

/* Whether a store to that memory would hit a region that may only be read. */
static inline bool region_view_forbids(const struct region_view *view, const void *address,
				       size_t length)
{
	return view->constant > 0 && length > 0 && region_view_forbids_some(view, address, length);
}

static inline bool extent_holds(const struct region_extent *extent, size_t offset, size_t length)
{
	return length <= extent->size && offset <= extent->size - length;
}

__attribute__((cold)) /* leave the registers to the usual look-up */
const struct region_extent *
region_view_search(struct region_view *view, enum region_use use, const void *address,
		   size_t length, uint64_t *offset);

/* The extent that holds all of [address, address + length), and the address's offset in it; or
 * NULL. */
static inline const struct region_extent *region_view_find(struct region_view *view,
							   enum region_use use, const void *address,
							   size_t length, uint64_t *offset)
{
	const struct region_extent *last = view->last[use];
	const size_t from_begin = (uintptr_t)address - last->begin;

	if (extent_holds(last, from_begin, length)) {
		*offset = from_begin;
		return last;
	}
	return region_view_search(view, use, address, length, offset);
}

#endif
