/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory that both sides see: allocating, importing and releasing it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cancellation.h"
#include "client.h"
#include "error.h"
#include "file_lane.h"
#include "file_region.h"
#include "filer.h"
#include "fork.h"
#include "mapping.h"
#include "region_memfd.h"
#include "vdm_region.h"

static struct vdm_region *region_new(struct vdm_client *client, size_t size, bool writable)
{
	struct vdm_region *region = calloc(1, sizeof *region);

	if (region) {
		region->client = client;
		region->size = size;
		region->writable = writable;
		region->fd = -1;
	}
	return region;
}

static void region_free(struct vdm_region *region)
{
	if (region->mapped)
		munmap(region->address, region->size);
	if (region->fd >= 0)
		close(region->fd);
	free(region);
}

/* Make the region known to the client, and to the daemon if there is one; or free it. */
static int region_enter(struct vdm_region *region, struct vdm_region **out)
{
	struct vdm_client *client = region->client;
	struct stat status;
	int result;

	if (fstat(region->fd, &status) < 0) {
		result = fail(-errno, "cannot look at a memfd: %s", strerror(errno));
	} else {
		region->device = status.st_dev;
		region->file = status.st_ino;
		pthread_mutex_lock(&client->connection.talk);
		result = region_table_add(&client->regions, region);
		if (!result)
			filer_add(client, region);
		pthread_mutex_unlock(&client->connection.talk);
	}
	if (result)
		region_free(region);
	else
		*out = region;
	return result;
}

int vdm_region_alloc(struct vdm_client *client, size_t bytes, struct vdm_region **out)
{
	WITHOUT_CANCELLATION;
	if (fork_happened(client->epoch))
		return fork_error();
	if (bytes == 0 || bytes > SIZE_MAX / 4)
		return fail(-EINVAL, "cannot allocate a region of %zu bytes", bytes);

	struct vdm_region *region = region_new(client, region_memfd_size(bytes), true);

	if (!region)
		return fail(-ENOMEM, "out of memory");

	int result = region_memfd_make(region->size, &region->fd, &region->address);

	if (result) {
		region_free(region);
		return fail(result, "cannot allocate a region of %zu bytes: %s", bytes,
			    strerror(-result));
	}
	region->mapped = true;
	return region_enter(region, out);
}

/* Take the caller's file; have it mapped unless the caller has done so. */
static int region_adopt(struct vdm_region *region, int fd, void *address)
{
	region->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (region->fd < 0)
		return -errno;

	int result = region_memfd_fill(region->fd, region->writable);

	if (result)
		return result;
	region->address = address;
	if (!address) {
		result = region_memfd_map(region->fd, region->size, region->writable,
					  &region->address);
		region->mapped = !result;
	}
	return result;
}

int vdm_region_import(struct vdm_client *client, int fd, void *address, size_t bytes,
		      unsigned flags, struct vdm_region **out)
{
	WITHOUT_CANCELLATION;
	if (fork_happened(client->epoch))
		return fork_error();

	const bool writable = !(flags & VDM_REGION_READONLY);
	int result = region_memfd_check(fd, bytes, flags);

	if (!result && address)
		result = mapping_check(fd, address, bytes, writable);
	if (result)
		return result;

	struct vdm_region *region = region_new(client, bytes, writable);

	if (!region)
		return fail(-ENOMEM, "out of memory");
	result = region_adopt(region, fd, address);
	if (result) {
		region_free(region);
		return fail(result, "cannot import descriptor %d as a region of %zu bytes: %s", fd,
			    bytes, strerror(-result));
	}
	return region_enter(region, out);
}

int vdm_region_release(struct vdm_region *region)
{
	if (!region)
		return 0;
	WITHOUT_CANCELLATION;

	if (fork_happened(region->client->epoch)) {
		region_free(region); /* the child's copy of the mapping and of the descriptor */
		return fork_error();
	}
	region_table_withdraw(&region->client->regions, region);
	file_lanes_await(region->client); /* they may move bytes from or to this memory */
	filer_let_go(region);
	if (region->of_file)
		file_region_forget(region);
	region_free(region);
	return 0;
}

void *vdm_region_address(const struct vdm_region *region)
{
	return region->address;
}

size_t vdm_region_size(const struct vdm_region *region)
{
	return region->size;
}

int vdm_region_fd(const struct vdm_region *region)
{
	return region->fd;
}
