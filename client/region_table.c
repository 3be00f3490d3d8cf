/* SPDX-License-Identifier: BSD-3-Clause */
#include "region_table.h"

#include <errno.h>

#include "error.h"
#include "vdm_region.h"

static void table_changed(struct region_table *table)
{
	/* release; partner: region_view_refresh() */
	atomic_fetch_add_explicit(&table->changes, 1, memory_order_release);
}

/* Have the daemon map a region. */
static int announce(struct region_table *table, struct vdm_region *region)
{
	struct vdm_message_region_add request = {
		.header = {VDM_MESSAGE_REGION_ADD, sizeof request},
		.size = region->size,
		.flags = region->writable ? 0 : VDM_REGION_READ_ONLY,
	};
	struct vdm_packet answer;
	int result = connection_request(table->connection, &request.header, &region->fd, 1,
					VDM_MESSAGE_REGION_ADDED, 0, &answer);

	if (result)
		return result;
	pthread_mutex_lock(&table->connection->lock);
	region->id = answer.message.region_added.region;
	table_changed(table);
	pthread_mutex_unlock(&table->connection->lock);
	return 0;
}

void region_table_announce(struct region_table *table)
{
	struct vdm_region *region;

	pthread_mutex_lock(&table->connection->lock);
	LIST_FOREACH(region, &table->regions, entry)
		region->id = 0; /* of the connection before */
	pthread_mutex_unlock(&table->connection->lock);
	LIST_FOREACH(region, &table->regions, entry)
		announce(table, region);
}

/* Operations name a region by its addresses, so no two regions of a client may share one. */
static int check_distinct(const struct region_table *table, const struct vdm_region *region)
{
	const struct vdm_region *other;

	LIST_FOREACH(other, &table->regions, entry) {
		if (other->device == region->device && other->file == region->file)
			return fail(-EEXIST, "this memfd is a region of this client already");
		if (region->address < other->address + other->size &&
		    other->address < region->address + region->size)
			return fail(-EEXIST,
				    "the region would overlap another region of this client at %p",
				    (void *)region->address);
	}
	return 0;
}

int region_table_add(struct region_table *table, struct vdm_region *region)
{
	int result = check_distinct(table, region);

	if (!result)
		result = announce(table, region);
	if (result && result != -ENOTCONN) /* the local lane needs no daemon */
		return result;
	pthread_mutex_lock(&table->connection->lock);
	LIST_INSERT_HEAD(&table->regions, region, entry);
	table_changed(table);
	pthread_mutex_unlock(&table->connection->lock);
	return 0;
}

void region_table_add_file(struct region_table *table, struct vdm_region *region)
{
	pthread_mutex_lock(&table->connection->lock);
	LIST_INSERT_HEAD(&table->files, region, entry);
	table_changed(table);
	pthread_mutex_unlock(&table->connection->lock);
}

void region_table_remove(struct region_table *table, struct vdm_region *region)
{
	LIST_REMOVE(region, entry);
	table_changed(table);
}
