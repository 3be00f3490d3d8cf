/* SPDX-License-Identifier: BSD-3-Clause */
#include "region_view.h"

#include <stdlib.h>
#include <unistd.h>

#include "vdm_region.h"

/* Holds nothing that a program has: see extent_holds(). */
static const struct region_extent nowhere = {.begin = UINTPTR_MAX};

/* The address space, in which engines find flat memory. */
static const struct region_extent everywhere = {.size = SIZE_MAX, .writable = true};

static void forget_hits(struct region_view *view)
{
	view->last[REGION_DESTINATION] = view->last[REGION_SOURCE] =
		view->flat ? &everywhere : &nowhere;
}

void region_view_init(struct region_view *view, bool flat)
{
	*view = (struct region_view){.flat = flat};
	forget_hits(view);
}

void region_view_forget(struct region_view *view)
{
	view->changes--;
	view->count = 0;
	forget_hits(view);
}

void region_view_destroy(struct region_view *view)
{
	free(view->extents);
	free(view->files);
}

static int compare_extents(const void *a, const void *b)
{
	const struct region_extent *x = a, *y = b;

	return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* The caller holds the connection's lock. Without memory, each operation is to take the file lane,
 * which knows the files. */
static void copy_files(struct region_view *view, const struct region_table *table)
{
	struct vdm_region *region;
	uint32_t count = 0;

	LIST_FOREACH(region, &table->files, entry)
		count++;
	struct region_extent *files =
		count > 0 ? realloc(view->files, count * sizeof *files) : NULL;

	view->file_count = count;
	view->files_unknown = count > 0 && !files;
	if (!files)
		return;
	view->files = files;
	LIST_FOREACH(region, &table->files, entry)
		*files++ = (struct region_extent){.begin = (uintptr_t)region->address,
						  .size = region->size,
						  .writable = region->writable};
	qsort(view->files, count, sizeof *files, compare_extents);
}

void region_view_copy(struct region_view *view, struct region_table *table, uint32_t connection)
{
	struct vdm_region *region;
	uint32_t count = 0;

	pthread_mutex_lock(&table->connection->lock);
	LIST_FOREACH(region, &table->regions, entry)
		count++;
	struct region_extent *extents = realloc(view->extents, (2 * count + 1) * sizeof *extents);

	view->count = view->constant = 0;
	forget_hits(view);
	if (extents) {
		view->extents = extents;
		view->capacity = count;
		/* relaxed: the lock orders it; partner: table_changed() */
		view->changes = atomic_load_explicit(&table->changes, memory_order_relaxed);
		LIST_FOREACH(region, &table->regions, entry) {
			uintptr_t begin = (uintptr_t)region->address;
			struct region_extent extent = {.begin = begin,
						       .size = region->size,
						       .id = region->id,
						       .writable = region->writable,
						       .device = region->device,
						       .file = region->file,
						       .offset = region->offset};

			if (region->id && table->connection->number == connection) {
				extents[view->count++] = extent;
				if ((int32_t)(region->number - view->newest) > 0)
					view->newest = region->number;
			}
			if (!region->writable)
				extents[view->capacity + view->constant++] = extent;
		}
		qsort(extents, view->count, sizeof *extents, compare_extents);
		qsort(extents + view->capacity, view->constant, sizeof *extents, compare_extents);
	}
	copy_files(view, table);
	pthread_mutex_unlock(&table->connection->lock);
}

/* How many of the extents begin at or before the address. */
static uint32_t extents_up_to(const struct region_extent *extents, uint32_t count,
			      uintptr_t address)
{
	uint32_t low = 0, high = count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (extents[middle].begin <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct region_extent *region_view_search(struct region_view *view, enum region_use use,
					       const void *address, size_t length, uint64_t *offset)
{
	const struct region_extent *extent = &everywhere;

	if (!view->flat) {
		uint32_t next = extents_up_to(view->extents, view->count, (uintptr_t)address);

		if (next == 0)
			return NULL;
		extent = &view->extents[next - 1];
		if (!extent_holds(extent, (uintptr_t)address - extent->begin, length))
			return NULL;
	} /* the engine refuses what is longer than the address space */
	*offset = (uintptr_t)address - extent->begin;
	return view->last[use] = extent;
}

bool region_view_forbids_some(const struct region_view *view, const void *address, size_t length)
{
	const struct region_extent *constant = view->extents + view->capacity;
	uintptr_t begin = (uintptr_t)address;
	uint32_t next = extents_up_to(constant, view->constant, begin);

	return (next > 0 && begin - constant[next - 1].begin < constant[next - 1].size) ||
	       (next < view->constant && length > constant[next].begin - begin);
}

/* Of addresses that are reserved for a region of a file: whole pages. */
static size_t reserved_size(const struct region_extent *file)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (file->size + page - 1) / page * page;
}

enum file_share region_view_file_share(const struct region_view *view, const void *address,
				       size_t length, bool *writable)
{
	const uintptr_t begin = (uintptr_t)address;

	if (view->files_unknown) {
		*writable = true;
		return FILE_SHARE_ALL;
	}

	uint32_t next = extents_up_to(view->files, view->file_count, begin);
	const struct region_extent *own = next > 0 ? &view->files[next - 1] : &nowhere;

	if (extent_holds(own, begin - own->begin, length)) {
		*writable = own->writable;
		return FILE_SHARE_ALL;
	}
	if (length == 0)
		return FILE_SHARE_NONE;
	if (begin - own->begin < reserved_size(own))
		return FILE_SHARE_PART; /* it begins in it */
	if (next < view->file_count && length > view->files[next].begin - begin)
		return FILE_SHARE_PART; /* it reaches into the next one */
	return FILE_SHARE_NONE;
}
