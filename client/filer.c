/* SPDX-License-Identifier: BSD-3-Clause */
#include "filer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "client.h"
#include "file_reopen.h"
#include "vdm_region.h"

/* Whether this process may write all of the file's part: a filer does not know its limit. */
static bool within_limit(const struct vdm_region *region)
{
	struct rlimit limit;

	return !region->extends || getrlimit(RLIMIT_FSIZE, &limit) < 0 ||
	       region->offset + region->size <= limit.rlim_cur;
}

void filer_add(struct vdm_client *client, struct vdm_region *region)
{
	struct vdm_client *filer = client_filer(client);

	if (!filer || region->in_filer || !within_limit(region))
		return;

	struct vdm_region *copy = malloc(sizeof *copy);

	if (!copy)
		return; /* the filer does not know it */
	*copy = *region;
	copy->client = filer;
	copy->id = 0;
	if (region->of_file)
		copy->fd = file_reopen(region->fd);
	if (copy->fd < 0) {
		free(copy);
		return;
	}
	pthread_mutex_lock(&filer->connection.talk);
	region_table_add_copy(&filer->regions, copy);
	pthread_mutex_unlock(&filer->connection.talk);
	region->in_filer = copy;
}

/* Returns 0 or a negative errno with its sentence. */
static int make(struct vdm_client *client)
{
	struct vdm_options options = client->options;
	struct vdm_client *filer;
	int result;

	options.flags = 0;
	options.features = 0;
	options.offload_threshold = 1;
	result = client_make(&options, &client->connection, &filer);
	if (result)
		return result;
	/* release; partner: client_filer() */
	atomic_store_explicit(&client->filer, filer, memory_order_release);
	return 0;
}

/* The caller holds `talk`. */
static void connect_again(struct vdm_client *client)
{
	struct connection *filer = &client_filer(client)->connection;

	if (client->connection.state != CONNECTION_OPEN)
		return;
	pthread_mutex_lock(&filer->talk);
	connection_look(filer);
	if (filer->state == CONNECTION_NONE)
		connection_open(filer, GREETING_PATIENCE_MS);
	pthread_mutex_unlock(&filer->talk);
}

void filer_open(struct vdm_client *client)
{
	const struct connection *daemon = &client->connection;
	struct vdm_region *region;

	if (!client_filer(client)) {
		if (daemon->state != CONNECTION_OPEN ||
		    !(daemon->welcome.features & VDM_FEATURE_FILES) || make(client))
			return;
	}
	connect_again(client);
	LIST_FOREACH(region, &client->regions.regions, entry)
		filer_add(client, region);
	LIST_FOREACH(region, &client->regions.files, entry)
		filer_add(client, region);
}

void filer_renew(struct vdm_client *client)
{
	pthread_mutex_lock(&client->connection.talk);
	if (client_filer(client))
		connect_again(client);
	pthread_mutex_unlock(&client->connection.talk);
}

void filer_let_go(struct vdm_region *region)
{
	struct vdm_region *copy = region->in_filer;

	if (!copy)
		return;
	region_table_withdraw(&copy->client->regions, copy);
	if (copy->of_file)
		close(copy->fd);
	free(copy);
}
