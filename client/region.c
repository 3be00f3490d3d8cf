/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory that both sides see: allocating, importing and finding it again. */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cancellation.h"
#include "error.h"
#include "fork.h"
#include "mapping.h"
#include "region_internal.h"
#include "ring_active.h"

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static void regions_changed(struct vdm_client *client)
{
	/* release; partner: region_view_refresh() */
	atomic_fetch_add_explicit(&client->changes, 1, memory_order_release);
}

int region_register(struct vdm_region *region)
{
	struct vdm_message_region_add request = {
		.header = {VDM_MESSAGE_REGION_ADD, sizeof request},
		.size = region->size,
		.flags = region->writable ? 0 : VDM_REGION_READ_ONLY,
	};
	struct vdm_packet reply;
	struct vdm_client *client = region->client;
	int result = connection_request(client, &request.header, &region->fd, 1, VDM_MESSAGE_REGION_ADDED, 0,
					&reply);

	if (result)
		return result;
	pthread_mutex_lock(&client->lock);
	region->id = reply.message.region_added.region;
	regions_changed(client);
	pthread_mutex_unlock(&client->lock);
	return 0;
}

static void region_free(struct vdm_region *region)
{
	if (region->mapped)
		munmap(region->address, region->size);
	if (region->fd >= 0)
		close(region->fd);
	free(region);
}

/* Whether the client has it already, or one that lies where it does: two regions at one address would be told apart by
 * chance. With `talk` held. */
static int check_distinct(const struct vdm_region *region)
{
	const struct vdm_region *other;

	LIST_FOREACH(other, &region->client->regions, entry) {
		if (other->device == region->device && other->file == region->file)
			return fail(-EEXIST, "this memfd is a region of this client already");
		if (region->address < other->address + other->size && other->address < region->address + region->size)
			return fail(-EEXIST, "the region would lie at %p, where another region of this client is",
				    (void *)region->address);
	}
	return 0;
}

/* Make the region known to the client, and to the daemon if there is one. */
static int region_enter(struct vdm_region *region, struct vdm_region **out)
{
	struct vdm_client *client = region->client;
	struct stat status;
	int result = fstat(region->fd, &status) < 0 ? fail(-errno, "cannot look at a memfd: %s", strerror(errno)) : 0;

	region->device = status.st_dev;
	region->file = status.st_ino;
	pthread_mutex_lock(&client->talk);
	if (!result)
		result = check_distinct(region);
	if (!result)
		result = region_register(region);
	if (result == -ENOTCONN)
		result = 0; /* the local lane needs no registration */
	if (result == 0) {
		pthread_mutex_lock(&client->lock);
		LIST_INSERT_HEAD(&client->regions, region, entry);
		regions_changed(client);
		pthread_mutex_unlock(&client->lock);
	}
	pthread_mutex_unlock(&client->talk);
	if (result) {
		region_free(region);
		return result;
	}
	*out = region;
	return 0;
}

/* fallocate(2) can be interrupted after any part of its work; what is there stays. */
static int allocate_pages(int fd, size_t size)
{
	int result;

	do
		result = fallocate(fd, 0, 0, (off_t)size);
	while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : 0;
}

/*
 * Allocate and map at once: through the mapping, pages may be huge ones where the system allows that for shared memory
 * (transparent_hugepage/shmem_enabled), which makes the daemon's part of it 300 times as short.
 */
static int allocate_mapped(void *address, size_t size)
{
	int result;

	madvise(address, size, MADV_HUGEPAGE);
	do
		result = madvise(address, size, MADV_POPULATE_WRITE);
	while (result < 0 && (errno == EINTR || errno == EAGAIN));
	/* where a store would have raised SIGBUS: the file system is full (madvise(2)) */
	return result == 0 ? 0 : errno == EFAULT ? -ENOMEM : -errno;
}

/* The same for a file that cannot be written: reading a page that is not there allocates it too. */
static int touch_pages(int fd, size_t size)
{
	void *pages = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

	if (pages == MAP_FAILED)
		return -errno;

	int result = madvise(pages, size, MADV_POPULATE_READ) < 0 ? -errno : 0;

	munmap(pages, size);
	return result;
}

/* The daemon wants all pages of a file to be there: see vdm-protocol(7). */
static int make_whole(int fd, bool writable)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (status.st_blocks * 512 >= status.st_size)
		return 0;
	return (writable ? allocate_pages : touch_pages)(fd, (size_t)status.st_size);
}

int vdm_region_alloc(struct vdm_client *client, size_t bytes, struct vdm_region **out)
{
	size_t page = page_size();

	WITHOUT_CANCELLATION;
	if (fork_happened(client->epoch))
		return fork_error();
	if (bytes == 0 || bytes > SIZE_MAX / 4)
		return fail(-EINVAL, "cannot allocate a region of %zu bytes", bytes);

	struct vdm_region *region = calloc(1, sizeof *region);

	if (!region)
		return fail(-ENOMEM, "out of memory");
	region->client = client;
	region->size = (bytes + page - 1) & ~(page - 1);
	region->writable = true;
	region->fd = memfd_create("vdm-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	int result = region->fd < 0 ? -errno : 0;

	if (!result && ftruncate(region->fd, (off_t)region->size) < 0)
		result = -errno;
	if (!result && fcntl(region->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		result = -errno;
	if (!result) {
		region->address = mmap(NULL, region->size, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd, 0);
		if (region->address == MAP_FAILED)
			result = -errno;
		else
			region->mapped = true;
	}
	if (!result)
		result = allocate_mapped(region->address, region->size);
	if (result) {
		region_free(region);
		return fail(result, "cannot allocate a region of %zu bytes: %s", bytes,
			    strerror(-result));
	}
	return region_enter(region, out);
}

static int not_a_memfd(int fd)
{
	return fail(-EMEDIUMTYPE, "descriptor %d is not a memfd: only memory made with memfd_create(2) can be a region",
		    fd);
}

/* A file on a tmpfs, of shm_open(3) for example, looks like a memfd that cannot be sealed. Only its name is another. */
static bool is_memfd(int fd)
{
	static const char memfd[] = "/memfd:";
	char path[64], name[sizeof memfd] = "";

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (readlink(path, name, sizeof name - 1) < 0)
		return true; /* there is no telling */
	return strcmp(name, memfd) == 0;
}

/* What can be found out about an imported file here is refused here, so that it is refused without a
 * daemon just the same. */
static int check_import(int fd, size_t bytes, unsigned flags)
{
	struct stat status;
	int mode = fcntl(fd, F_GETFL);

	if (mode < 0 || fstat(fd, &status) < 0)
		return fail(-errno, "descriptor %d cannot be used: %s", fd, strerror(errno));
	if (flags & ~VDM_REGION_READONLY)
		return fail(-EINVAL, "region flags 0x%x have unknown bits", flags);
	if (bytes == 0 || bytes % page_size() != 0)
		return fail(-EINVAL, "a region has to have whole pages of %zu bytes: %zu is not",
			    page_size(), bytes);

	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0)
		return not_a_memfd(fd);
	if (!(flags & VDM_REGION_READONLY)) {
		if ((mode & O_ACCMODE) != O_RDWR)
			return fail(-EACCES, "descriptor %d is open for reading only: import it with "
					     "VDM_REGION_READONLY, or open it for both", fd);
		if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
			return fail(-EACCES, "the memfd is sealed against writing: import it with "
					     "VDM_REGION_READONLY");
	}
	if (!(seals & F_SEAL_SHRINK) && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
		return !is_memfd(fd) ? not_a_memfd(fd) : fail(-EPERM, "the memfd cannot be sealed against shrinking (%s): create it with "
				    "MFD_ALLOW_SEALING, and seal it before it is opened read-only",
			    strerror(errno));
	/* only now: it cannot become shorter any more */
	if (fstat(fd, &status) < 0 || (size_t)status.st_size < bytes)
		return fail(-EFBIG, "the region would have %zu bytes but the memfd has %lld", bytes,
			    (long long)status.st_size);
	return 0;
}

int vdm_region_import(struct vdm_client *client, int fd, void *address, size_t bytes, unsigned flags,
		      struct vdm_region **out)
{
	WITHOUT_CANCELLATION;
	if (fork_happened(client->epoch))
		return fork_error();

	int result = check_import(fd, bytes, flags);

	if (!result && address)
		result = mapping_check(fd, address, bytes, !(flags & VDM_REGION_READONLY));
	if (result)
		return result;

	struct vdm_region *region = calloc(1, sizeof *region);

	if (!region)
		return fail(-ENOMEM, "out of memory");
	region->client = client;
	region->size = bytes;
	region->writable = !(flags & VDM_REGION_READONLY);
	region->address = address;
	region->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (region->fd < 0)
		result = -errno;
	if (!result)
		result = make_whole(region->fd, region->writable);
	if (!result && !address) {
		int protection = region->writable ? PROT_READ | PROT_WRITE : PROT_READ;

		region->address = mmap(NULL, bytes, protection, MAP_SHARED, region->fd, 0);
		if (region->address == MAP_FAILED)
			result = -errno;
		else
			region->mapped = true;
	}
	if (result) {
		region_free(region);
		return fail(result, "cannot import descriptor %d as a region of %zu bytes: %s", fd, bytes,
			    strerror(-result));
	}
	return region_enter(region, out);
}

/*
 * Take the region out of the client's list. On return no thread of this process uses it any more, and none will, except
 * through pointers of the caller's. Its id is one of `*connection`. Returns whether operations may be in flight.
 */
static bool region_leave(struct vdm_region *region, uint32_t *connection)
{
	struct vdm_client *client = region->client;

	pthread_mutex_lock(&client->talk);
	pthread_mutex_lock(&client->lock);
	LIST_REMOVE(region, entry);
	regions_changed(client);
	bool in_flight = rings_await_leave(client);

	*connection = client->connections;
	pthread_mutex_unlock(&client->lock);
	pthread_mutex_unlock(&client->talk);
	return in_flight;
}

int vdm_region_release(struct vdm_region *region)
{
	if (!region)
		return 0;
	WITHOUT_CANCELLATION;
	struct vdm_client *client = region->client;

	if (fork_happened(client->epoch)) {
		region_free(region); /* our copy of the mapping and of the descriptor */
		return fork_error();
	}

	uint32_t connection;
	bool in_flight = region_leave(region, &connection);

	if (region->id) {
		struct vdm_message_region_remove request = {
			.header = {VDM_MESSAGE_REGION_REMOVE, sizeof request},
			.region = region->id,
		};

		connection_let_go(client, connection, &request.header, in_flight);
	}
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

static int compare_extents(const void *a, const void *b)
{
	const struct region_extent *x = a, *y = b;

	return x->begin < y->begin ? -1 : x->begin > y->begin;
}

void region_view_copy(struct region_view *view, struct vdm_client *client, uint32_t connection)
{
	struct vdm_region *region;
	uint32_t count = 0;

	pthread_mutex_lock(&client->lock);
	LIST_FOREACH(region, &client->regions, entry)
		count++;
	struct region_extent *extents = realloc(view->extents, (2 * count + 1) * sizeof *extents);

	view->count = view->constant = 0;
	view->last[REGION_DESTINATION] = view->last[REGION_SOURCE] = 0;
	if (extents) {
		view->extents = extents;
		view->capacity = count;
		view->changes = atomic_load_explicit(&client->changes, memory_order_relaxed);
		LIST_FOREACH(region, &client->regions, entry) {
			uintptr_t begin = (uintptr_t)region->address;
			struct region_extent extent = {begin, begin + region->size, region->id, region->writable};

			if (region->id && client->connections == connection)
				extents[view->count++] = extent;
			if (!region->writable)
				extents[view->capacity + view->constant++] = extent;
		}
		qsort(extents, view->count, sizeof *extents, compare_extents);
		qsort(extents + view->capacity, view->constant, sizeof *extents, compare_extents);
	}
	pthread_mutex_unlock(&client->lock);
}

/* How many of the extents begin at or before the address. */
static uint32_t extents_up_to(const struct region_extent *extents, uint32_t count, uintptr_t address)
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
					       const void *address, size_t length)
{
	uint32_t next = extents_up_to(view->extents, view->count, (uintptr_t)address);

	if (next == 0 || !extent_holds(&view->extents[next - 1], (uintptr_t)address, length))
		return NULL;
	view->last[use] = next - 1;
	return &view->extents[next - 1];
}

bool region_view_forbids_some(const struct region_view *view, const void *address, size_t length)
{
	const struct region_extent *constant = view->extents + view->capacity;
	uintptr_t begin = (uintptr_t)address;
	uint32_t next = extents_up_to(constant, view->constant, begin);

	return (next > 0 && begin < constant[next - 1].end) ||
	       (next < view->constant && length > constant[next].begin - begin);
}
