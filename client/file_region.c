/* SPDX-License-Identifier: BSD-3-Clause */
#include "file_region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cancellation.h"
#include "client.h"
#include "error.h"
#include "file_engine.h"
#include "file_reopen.h"
#include "filer.h"
#include "fork.h"
#include "op/file_check.h"
#include "op/files.h"
#include "vdm_region.h"

#define VALID_FLAGS (VDM_REGION_READONLY | VDM_REGION_EXTEND | VDM_REGION_MAP)

/* Map the file for the program. Returns 0 or a negative errno. */
static int map(struct vdm_region *region, uint64_t offset)
{
	const int protection = region->writable ? PROT_READ | PROT_WRITE : PROT_READ;
	void *mapping = mmap(NULL, region->size, protection, MAP_SHARED, region->fd, (off_t)offset);

	if (mapping == MAP_FAILED)
		return -errno;
	region->address = mapping;
	region->mapped = true;
	return 0;
}

/* Give the region its addresses, and the file to what carries out operations. Returns 0 or a
 * negative errno. */
static int place(struct vdm_region *region, struct files *files, uint64_t offset, unsigned flags)
{
	void *base = NULL;
	int result = 0;

	if (flags & VDM_REGION_MAP) {
		result = map(region, offset);
		base = region->address;
	}
	if (!result)
		result = files_add(files, region->fd, offset, region->size,
				   (region->writable ? FILES_WRITABLE : 0) |
					   (flags & VDM_REGION_EXTEND ? FILES_EXTEND : 0),
				   &base);
	if (!result)
		region->address = base;
	return result;
}

/* The caller holds the connection's `talk`. Returns 0, or a negative errno with its sentence. */
static int enter(struct vdm_client *client, struct vdm_region *region, uint64_t offset,
		 unsigned flags)
{
	if (!client->file_engine) {
		struct file_engine *engine;
		int error = file_engine_new(&engine);

		if (error)
			return error;
		pthread_mutex_lock(&client->connection.lock);
		client->file_engine = engine;
		pthread_mutex_unlock(&client->connection.lock);
	}

	int result = place(region, client->file_engine->files, offset, flags);
	if (result)
		return fail(result, "cannot open a region of %zu bytes of a file: %s", region->size,
			    strerror(-result));
	region_table_add_file(&client->regions, region);
	filer_open(client);
	return 0;
}

/* Of a region that has not been entered. */
static void region_drop(struct vdm_region *region)
{
	if (region->mapped)
		munmap(region->address, region->size);
	if (region->fd >= 0)
		close(region->fd);
	free(region);
}

/* Returns 0 or a negative errno with its sentence. */
static int check(int fd, uint64_t offset, uint64_t length, unsigned flags)
{
	char text[256];
	int result;

	if (flags & ~VALID_FLAGS)
		return fail(-EINVAL, "region flags 0x%x have unknown bits", flags);
	result = file_check(fd, offset, length,
			    (flags & VDM_REGION_READONLY ? FILE_CHECK_READ_ONLY : 0) |
				    (flags & VDM_REGION_EXTEND ? FILE_CHECK_EXTEND : 0),
			    text, sizeof text);
	return result ? fail(result, "descriptor %d cannot be a region: %s", fd, text) : 0;
}

int vdm_region_open_file(struct vdm_client *client, int fd, uint64_t offset, uint64_t length,
			 unsigned flags, struct vdm_region **out)
{
	WITHOUT_CANCELLATION;
	if (fork_happened(client->epoch))
		return fork_error();

	int result = check(fd, offset, length, flags);

	if (result)
		return result;

	struct vdm_region *region = calloc(1, sizeof *region);
	struct stat status;

	if (!region)
		return fail(-ENOMEM, "out of memory");
	*region = (struct vdm_region){.client = client,
				      .fd = file_reopen(fd),
				      .size = length,
				      .writable = !(flags & VDM_REGION_READONLY),
				      .of_file = true,
				      .extends = flags & VDM_REGION_EXTEND,
				      .offset = offset};
	if (region->fd < 0 || fstat(region->fd, &status) < 0) {
		result = fail(-errno, "cannot duplicate descriptor %d: %s", fd, strerror(errno));
	} else {
		region->device = status.st_dev;
		region->file = status.st_ino;
		pthread_mutex_lock(&client->connection.talk);
		result = enter(client, region, offset, flags);
		pthread_mutex_unlock(&client->connection.talk);
	}
	if (result)
		region_drop(region);
	else
		*out = region;
	return result;
}

void file_region_forget(struct vdm_region *region)
{
	files_remove(region->client->file_engine->files, region->address);
	region->fd = -1; /* it has been closed */
}
