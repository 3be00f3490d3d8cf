/* SPDX-License-Identifier: BSD-3-Clause */
#include "region_table.h"

#include <errno.h>

#include "activity.h"
#include "error.h"
#include "vdm_region.h"

static void table_changed(struct region_table *table)
{
	/* release; partner: region_view_refresh() */
	atomic_fetch_add_explicit(&table->changes, 1, memory_order_release);
}

/* Make a region known to the other side. Returns 0 or a negative errno with its sentence. */
static int announce(struct region_table *table, struct vdm_region *region)
{
	const uint32_t flags = (region->writable ? 0 : VDM_REGION_READ_ONLY) |
			       (region->extends ? VDM_REGION_EXTEND : 0);
	const struct vdm_message_region_add memory = {
		.header = {VDM_MESSAGE_REGION_ADD, sizeof memory},
		.size = region->size,
		.flags = flags,
	};
	const struct vdm_message_file_add file = {
		.header = {VDM_MESSAGE_FILE_ADD, sizeof file},
		.offset = region->offset,
		.size = region->size,
		.flags = flags,
	};
	struct vdm_packet answer;
	int result = connection_request(table->connection,
					region->of_file ? &file.header : &memory.header,
					&region->fd, 1, VDM_MESSAGE_REGION_ADDED, 0, &answer);

	if (result)
		return result;
	pthread_mutex_lock(&table->connection->lock);
	region->id = answer.message.region_added.region;
	table_changed(table);
	pthread_mutex_unlock(&table->connection->lock);
	return 0;
}

/* The caller of the region does not learn of a refusal. */
static void announce_again(struct region_table *table, struct vdm_region *region)
{
	const int result = announce(table, region);

	if (!result || result == -ENOTCONN)
		return;
	pthread_mutex_lock(&table->connection->lock);
	table->refused++;
	pthread_mutex_unlock(&table->connection->lock);
	debug_line("vdmd refuses a region of %zu bytes, whose operations take the local lane: %s",
		   region->size, vdm_last_error());
}

void region_table_announce(struct region_table *table)
{
	struct vdm_region *region;

	pthread_mutex_lock(&table->connection->lock);
	LIST_FOREACH(region, &table->regions, entry)
		region->id = 0; /* of the connection before */
	pthread_mutex_unlock(&table->connection->lock);
	LIST_FOREACH(region, &table->regions, entry)
		announce_again(table, region);
}

/* The caller holds the connection's `talk` and `lock`. */
static void number(struct region_table *table, struct vdm_region *region)
{
	region->number = ++table->numbered;
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
	number(table, region);
	LIST_INSERT_HEAD(&table->regions, region, entry);
	table_changed(table);
	pthread_mutex_unlock(&table->connection->lock);
	return 0;
}

static bool holds(const struct vdm_region *region, uint32_t newest, const char *address,
		  size_t length)
{
	return (int32_t)(region->number - newest) <= 0 && address >= region->address &&
	       length <= region->size &&
	       (size_t)(address - region->address) <= region->size - length;
}

bool region_table_holds(struct region_table *table, uint32_t newest, const void *address,
			size_t length)
{
	const struct vdm_region *region;
	bool found = false;

	pthread_mutex_lock(&table->connection->lock);
	LIST_FOREACH(region, &table->regions, entry)
		found |= holds(region, newest, address, length);
	LIST_FOREACH(region, &table->files, entry)
		found |= holds(region, newest, address, length);
	pthread_mutex_unlock(&table->connection->lock);
	return found;
}

void region_table_add_copy(struct region_table *table, struct vdm_region *region)
{
	announce(table, region);
	pthread_mutex_lock(&table->connection->lock);
	LIST_INSERT_HEAD(&table->regions, region, entry);
	table_changed(table);
	pthread_mutex_unlock(&table->connection->lock);
}

void region_table_add_file(struct region_table *table, struct vdm_region *region)
{
	pthread_mutex_lock(&table->connection->lock);
	number(table, region);
	LIST_INSERT_HEAD(&table->files, region, entry);
	table_changed(table);
	pthread_mutex_unlock(&table->connection->lock);
}

void region_table_withdraw(struct region_table *table, struct vdm_region *region)
{
	struct connection *c = table->connection;
	struct vdm_message_region_remove request = {
		.header = {VDM_MESSAGE_REGION_REMOVE, sizeof request},
	};

	pthread_mutex_lock(&c->talk);
	pthread_mutex_lock(&c->lock);
	LIST_REMOVE(region, entry);
	table_changed(table);
	const bool in_flight = activities_await_inactive(table->activities);
	const uint32_t connection = c->number;

	/* of this connection: to the next one, it may be another region's */
	request.region = region->id;
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_unlock(&c->talk);
	if (request.region)
		connection_let_go(c, connection, &request.header, in_flight);
}
