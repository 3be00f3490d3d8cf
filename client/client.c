/* SPDX-License-Identifier: BSD-3-Clause */
/* Life and figures of a client. */
#include "client.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cancellation.h"
#include "conversation.h"
#include "error.h"
#include "file_engine.h"
#include "fork.h"
#include "options.h"

/* Without a daemon to advise; the daemon itself advises this by default. */
#define DEFAULT_THRESHOLD ((size_t)64 << 10)

static void client_welcomed(struct connection *connection)
{
	struct vdm_client *client =
		(struct vdm_client *)((char *)connection - offsetof(struct vdm_client, connection));

	region_table_announce(&client->regions);
}

int client_make(const struct vdm_options *options, struct connection *daemon,
		struct vdm_client **client)
{
	uint32_t epoch = fork_epoch();
	struct vdm_client *c = epoch ? calloc(1, sizeof *c) : NULL;
	char *path = strdup(options->socket);

	if (!c || !path) {
		free(c);
		free(path);
		fail(-ENOMEM, "out of memory");
		return -ENOMEM;
	}
	c->socket_path = path;
	c->epoch = epoch;
	c->options = *options;
	c->options.socket = path;
	connection_init(&c->connection, &c->options, daemon, client_welcomed);
	c->regions.connection = &c->connection;
	c->regions.activities = &c->activities;
	LIST_INIT(&c->regions.regions);
	LIST_INIT(&c->regions.files);
	activities_init(&c->activities, &c->connection.lock);
	LIST_INIT(&c->counters);
	*client = c;
	return 0;
}

static int client_new(const struct vdm_options *given, struct vdm_client **client)
{
	struct vdm_options options;
	int result = options_complete(given, &default_options, &options);

	if (result)
		return result;
	options.socket = conversation_path(options.socket);
	return client_make(&options, NULL, client);
}

static int connect_first(struct vdm_client *client)
{
	pthread_mutex_lock(&client->connection.talk);
	int result = connection_open(&client->connection, GREETING_PATIENCE_MS);

	pthread_mutex_unlock(&client->connection.talk);
	return result;
}

int vdm_client_open(const struct vdm_options *options, struct vdm_client **client)
{
	WITHOUT_CANCELLATION;
	struct vdm_client *c;
	int result = client_new(options, &c);

	if (result)
		return result;
	result = connect_first(c);
	/* Without a daemon the local lane serves. A daemon that refuses the client is an error. */
	bool absent = connection_is_absence(result) || result == -EACCES;

	if (result &&
	    (!absent || (c->options.flags & VDM_OPTION_REQUIRE_DAEMON) || c->options.features)) {
		vdm_client_close(c);
		return result;
	}
	*client = c;
	return 0;
}

static void client_free(struct vdm_client *client)
{
	/* A forked child has no threads to stop, and one of them may have held a lock: the engine's
	 * memory stays as it is. */
	if (client->file_engine && !fork_happened(client->epoch))
		file_engine_delete(client->file_engine);
	connection_destroy(&client->connection);
	activities_destroy(&client->activities);
	free(client->socket_path);
	free(client);
}

void vdm_client_close(struct vdm_client *client)
{
	if (!client)
		return;
	WITHOUT_CANCELLATION;
	if (client_filer(client))
		client_free(client_filer(client));
	client_free(client);
}

struct vdm_client *vdm_client_default(void)
{
	static _Atomic(struct vdm_client *) shared;
	WITHOUT_CANCELLATION;
	/* acquire; partner: the release below */
	struct vdm_client *known = atomic_load_explicit(&shared, memory_order_acquire);

	if (known && !fork_happened(known->epoch)) {
		connection_renew(&known->connection, GREETING_PATIENCE_MS);
		return known;
	}

	/* A parent's client is left as it is: the program may still refer to its rings and
	 * regions. */
	struct vdm_client *fresh;

	if (client_new(NULL, &fresh))
		return NULL;
	connect_first(fresh); /* a failure does not matter: the next call tries again */
	if (atomic_compare_exchange_strong_explicit(&shared, &known, fresh, memory_order_release,
						    memory_order_acquire))
		return fresh;
	vdm_client_close(fresh);
	return known;
}

/* Fill in as much of a structure as the caller knows of. Its first member is its size. */
static void copy_out(void *to, size_t to_size, const void *from, size_t from_size)
{
	memset(to, 0, to_size);
	memcpy(to, from, to_size < from_size ? to_size : from_size);
	*(size_t *)to = to_size;
}

int vdm_client_info(struct vdm_client *client, struct vdm_client_info *info)
{
	if (info->size < sizeof info->size)
		return fail(-EINVAL, "info.size is %zu: set it to sizeof(struct vdm_client_info)",
			    info->size);
	if (fork_happened(client->epoch))
		return fork_error();

	WITHOUT_CANCELLATION;
	struct connection *connection = &client->connection;

	if (connection_lock_talk(connection, 0)) { /* another thread's conversation may last */
		connection_look(connection);
		pthread_mutex_unlock(&connection->talk);
	}
	pthread_mutex_lock(&connection->lock);

	struct vdm_client_info full = {
		.connected = connection->state == CONNECTION_OPEN,
		.error = connection->error,
		.offload_threshold = client->options.offload_threshold,
	};

	if (full.connected) {
		const struct vdm_message_welcome *welcome = &connection->welcome;

		/* the other features concern the library */
		full.features = welcome->features & VDM_FEATURE_FILE_REGIONS;
		full.workers = welcome->workers;
		full.max_entries = welcome->max_entries;
		full.max_rings = welcome->max_rings;
		full.max_regions = welcome->max_regions;
		full.max_region_bytes = welcome->max_region_bytes;
	}
	if (!full.offload_threshold)
		full.offload_threshold =
			full.connected ? connection->welcome.offload_threshold : DEFAULT_THRESHOLD;
	pthread_mutex_unlock(&connection->lock);
	copy_out(info, info->size, &full, sizeof full);
	return 0;
}

int vdm_client_counters(struct vdm_client *client, struct vdm_client_counters *counters)
{
	struct ring_counters sum = {0};
	const struct ring_counters *ring;

	if (counters->size < sizeof counters->size)
		return fail(-EINVAL,
			    "counters.size is %zu: set it to sizeof(struct vdm_client_counters)",
			    counters->size);
	if (fork_happened(client->epoch))
		return fork_error();
	pthread_mutex_lock(&client->connection.lock);
	counters_add(&sum, &client->ended);
	ring_count(&sum.refused, client->regions.refused + client->connection.refused);
	LIST_FOREACH(ring, &client->counters, entry)
		counters_add(&sum, ring);
	pthread_mutex_unlock(&client->connection.lock);

	struct vdm_client_counters full = {
		.offloaded = sum.offloaded,
		.offloaded_bytes = sum.offloaded_bytes,
		.local_small = sum.local_small,
		.local_outside = sum.local_outside,
		.local_disconnected = sum.local_disconnected,
		.local_bytes = sum.local_bytes,
		.failed = sum.failed,
		.doorbells = sum.doorbells,
		.sleeps = sum.sleeps,
		.taken_back = sum.taken_back,
		.file_operations = sum.file_operations,
		.file_bytes = sum.file_bytes,
		.file_offloaded = sum.file_offloaded,
		.reconnects = sum.reconnects,
		.repeated = sum.repeated,
		.recovered_here = sum.recovered_here,
		.refused = sum.refused,
	};

	copy_out(counters, counters->size, &full, sizeof full);
	return 0;
}
