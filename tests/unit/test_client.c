/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening, regions and look-ups, as far as they go without a daemon. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/fork.h"
#include "client/region_view.h"
#include "libvdm/ring.h"
#include "proto/control.h"

static struct vdm_client *open_local(void)
{
	struct vdm_options options = {.size = sizeof options, .flags = VDM_OPTION_LOCAL_ONLY};
	struct vdm_client *client = NULL;

	assert_int_equal(vdm_client_open(&options, &client), 0);
	return client;
}

static void bad_options_are_refused_with_a_sentence(void **state)
{
	struct vdm_client *client = NULL;
	struct {
		struct vdm_options options;
		const char *word;
	} bad[] = {
		{{.size = 0}, "sizeof"},
		{{.size = sizeof(struct vdm_options), .flags = 1u << 31}, "flags"},
		{{.size = sizeof(struct vdm_options), .flags = VDM_OPTION_VALID_FLAGS}, "both"},
		{{.size = sizeof(struct vdm_options), .entries = 3}, "power of two"},
		{{.size = sizeof(struct vdm_options), .entries = 8192}, "power of two"},
		{{.size = sizeof(struct vdm_options), .priority = 2}, "VDM_PRIORITY_LOW"},
		{{.size = sizeof(struct vdm_options), .priority = -2}, "VDM_PRIORITY_LOW"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(vdm_client_open(&bad[i].options, &client), -EINVAL);
		assert_non_null(strstr(vdm_last_error(), bad[i].word));
		assert_null(client);
	}
}

static void options_of_other_releases_are_understood(void **state)
{
	struct {
		struct vdm_options options;
		uint64_t more;
	} newer = {.options = {.size = sizeof newer, .flags = VDM_OPTION_LOCAL_ONLY}};
	struct vdm_client *client = NULL;

	(void)state;
	assert_int_equal(vdm_client_open(&newer.options, &client), 0);
	vdm_client_close(client);
	client = NULL;
	newer.more = 1; /* something that this release does not know */
	assert_int_equal(vdm_client_open(&newer.options, &client), -E2BIG);
	assert_null(client);

	struct vdm_options older = {.size = offsetof(struct vdm_options, entries),
				    .flags = VDM_OPTION_LOCAL_ONLY,
				    .entries = 3 /* not looked at */};

	assert_int_equal(vdm_client_open(&older, &client), 0);
	vdm_client_close(client);
}

static void no_daemon_is_an_error_only_if_one_is_required(void **state)
{
	struct vdm_options options = {.size = sizeof options, .socket = "/nonexistent/vdmd.sock"};
	struct vdm_client_info info = {.size = sizeof info};
	struct vdm_client *client = NULL;

	(void)state;
	assert_int_equal(vdm_client_open(&options, &client), 0);
	assert_int_equal(vdm_client_info(client, &info), 0);
	assert_false(info.connected);
	assert_int_equal(info.error, -ENOENT);
	vdm_client_close(client);
	client = NULL;
	options.flags = VDM_OPTION_REQUIRE_DAEMON;
	assert_int_equal(vdm_client_open(&options, &client), -ENOENT);
	assert_non_null(strstr(vdm_last_error(), "/nonexistent/vdmd.sock"));
	assert_null(client);
	options.flags = 0;
	options.features = VDM_FEATURE_FILE_REGIONS;
	assert_int_equal(vdm_client_open(&options, &client), -ENOENT);
	assert_null(client);
	char path[200];

	memset(path, 'x', sizeof path - 1);
	path[sizeof path - 1] = '\0';
	options = (struct vdm_options){.size = sizeof options, .socket = path};
	assert_int_equal(vdm_client_open(&options, &client), -ENAMETOOLONG);
}

/* Something else listens on the socket, and says things that are not of the protocol. */
static void a_stranger_at_the_socket_is_no_daemon(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0), status;

	(void)state;
	snprintf(address.sun_path, sizeof address.sun_path, "/tmp/vdm-test-%d.sock", (int)getpid());
	unlink(address.sun_path);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(listener, 1), 0);
	pid_t child = fork();

	if (child == 0) {
		int fd = accept(listener, NULL, NULL);
		char greeting[100];
		struct vdm_message_done done = {.header = {VDM_MESSAGE_DONE, sizeof done}};

		if (recv(fd, greeting, sizeof greeting, 0) != sizeof(struct vdm_message_hello))
			_exit(1);
		vdm_packet_send(fd, &done.header, NULL, 0);
		_exit(0);
	}
	struct vdm_options options = {.size = sizeof options,
				      .socket = address.sun_path,
				      .flags = VDM_OPTION_REQUIRE_DAEMON};
	struct vdm_client *client = NULL;

	assert_int_equal(vdm_client_open(&options, &client), -ENOTCONN);
	assert_non_null(strstr(vdm_last_error(), "understands"));
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
	close(listener);
	unlink(address.sun_path);
}

static void regions_are_whole_zeroed_pages(void **state)
{
	struct vdm_client *client = open_local();
	struct vdm_region *region = NULL;

	(void)state;
	assert_int_equal(vdm_region_alloc(client, 5000, &region), 0);
	assert_int_equal(vdm_region_size(region), 8192);
	for (int i = 0; i < 8192; i++)
		assert_int_equal(((char *)vdm_region_address(region))[i], 0);
	assert_true(fcntl(vdm_region_fd(region), F_GET_SEALS) & F_SEAL_SHRINK);
	assert_int_equal(vdm_region_release(region), 0);
	region = NULL;
	assert_int_equal(vdm_region_alloc(client, 0, &region), -EINVAL);
	assert_int_equal(vdm_region_alloc(client, SIZE_MAX, &region), -EINVAL);
	assert_null(region);
	assert_int_equal(vdm_region_release(NULL), 0);
	vdm_client_close(client);
}

static void imports_are_checked(void **state)
{
	struct vdm_client *client = open_local();
	struct vdm_region *region = NULL;
	int good = memfd_create("good", MFD_ALLOW_SEALING);
	int unsealable = memfd_create("unsealable", 0);
	int sealed = memfd_create("sealed", MFD_ALLOW_SEALING);
	int zero = open("/dev/zero", O_RDWR);
	int disk = open("/proc/self/exe", O_RDONLY);
	char path[64];

	(void)state;
	assert_int_equal(ftruncate(good, 8192), 0);
	assert_int_equal(ftruncate(unsealable, 8192), 0);
	assert_int_equal(ftruncate(sealed, 8192), 0);
	assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_int_equal(vdm_region_import(client, -1, NULL, 4096, 0, &region), -EBADF);
	assert_int_equal(vdm_region_import(client, good, NULL, 0, 0, &region), -EINVAL);
	assert_int_equal(vdm_region_import(client, good, NULL, 4097, 0, &region), -EINVAL);
	assert_int_equal(vdm_region_import(client, good, NULL, 4096, 1u << 9, &region), -EINVAL);
	assert_int_equal(vdm_region_import(client, good, NULL, 12288, 0, &region), -EFBIG);
	assert_int_equal(vdm_region_import(client, unsealable, NULL, 8192, 0, &region), -EPERM);
	assert_non_null(strstr(vdm_last_error(), "MFD_ALLOW_SEALING"));
	assert_int_equal(vdm_region_import(client, zero, NULL, 4096, 0, &region), -EMEDIUMTYPE);
	assert_int_equal(vdm_region_import(client, disk, NULL, 4096, VDM_REGION_READONLY, &region),
			 -EMEDIUMTYPE);
	assert_int_equal(vdm_region_import(client, sealed, NULL, 8192, 0, &region), -EACCES);
	snprintf(path, sizeof path, "/proc/self/fd/%d", good);
	int readonly = open(path, O_RDONLY);

	assert_int_equal(vdm_region_import(client, readonly, NULL, 8192, 0, &region), -EACCES);
	assert_null(region);
	assert_int_equal(vdm_region_import(client, readonly, NULL, 8192, VDM_REGION_READONLY,
					   &region),
			 0);
	assert_int_equal(vdm_region_release(region), 0);
	assert_int_equal(vdm_region_import(client, good, NULL, 8192, 0, &region), 0);
	assert_int_equal(vdm_region_release(region), 0);
	close(good);
	close(unsealable);
	close(sealed);
	close(zero);
	close(disk);
	close(readonly);
	vdm_client_close(client);
}

/* The number of the region that is found, and 0 if none is. */
static uint32_t region_at(struct region_view *view, uintptr_t address, size_t length)
{
	uint64_t offset;
	const struct region_extent *found =
		region_view_find(view, REGION_SOURCE, (void *)address, length, &offset);

	if (!found)
		return 0;
	assert_int_equal(found->begin + offset, address);
	return found->id;
}

static void extents_are_found_by_every_address_in_them_and_no_other(void **state)
{
	struct region_extent extents[] = {
		{1000, 1000, 1, true}, {2000, 1000, 2, true}, {5000, 1000, 3, false}};
	struct region_view view;

	(void)state;
	region_view_init(&view, false);
	view.count = 3;
	view.extents = extents;
	for (uintptr_t at = 900; at < 6100; at += 50) {
		for (size_t n = 0; n < 1200; n += 99) {
			uint32_t want = 0;

			for (int i = 0; i < 3; i++)
				if (at >= extents[i].begin &&
				    at + n <= extents[i].begin + extents[i].size)
					want = extents[i].id;
			if (n > 0)
				assert_int_equal(region_at(&view, at, n), want);
			else /* at a border: either will do */
				assert_int_equal(region_at(&view, at, n) == 0, want == 0);
		}
	}
	assert_int_equal(region_at(&view, 1500, SIZE_MAX), 0);
	region_view_init(&view, false);
	assert_int_equal(region_at(&view, 1500, 1), 0);
	assert_int_equal(region_at(&view, 0, 0), 0);
}

static void flat_memory_is_found_at_every_address(void **state)
{
	struct region_view view;
	uint64_t offset;

	(void)state;
	region_view_init(&view, true);
	assert_non_null(region_view_find(&view, REGION_SOURCE, (void *)1500, 1, &offset));
	assert_int_equal(offset, 1500);
	/* the engine is to refuse what wraps around */
	assert_non_null(region_view_find(&view, REGION_SOURCE, (void *)1500, SIZE_MAX, &offset));
	assert_int_equal(offset, 1500);
}

static void a_child_is_in_another_epoch_and_so_is_its_child(void **state)
{
	uint32_t parent = fork_epoch();
	int status;

	(void)state;
	assert_int_not_equal(parent, 0);
	assert_false(fork_happened(parent));
	pid_t child = fork();

	if (child == 0) {
		int wrong = !fork_happened(parent);
		uint32_t own = fork_epoch();

		wrong |= own == 0 || own == parent || fork_happened(own) || !fork_happened(parent);
		if (fork() == 0)
			_exit(!fork_happened(own) || !fork_happened(parent));
		wait(&status);
		_exit(wrong || status);
	}
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
	assert_false(fork_happened(parent));
}

static void structures_of_other_sizes_are_filled_as_far_as_they_go(void **state)
{
	struct vdm_client *client = open_local();
	struct vdm_client_info info = {.size = offsetof(struct vdm_client_info, features),
				       .features = 77};
	struct vdm_client_counters counters = {.size = 0};

	(void)state;
	assert_int_equal(vdm_client_info(client, &info), 0);
	assert_int_equal(info.error, -ENOTCONN);
	assert_int_equal(info.features, 77);
	assert_int_equal(vdm_client_counters(client, &counters), -EINVAL);
	vdm_client_close(client);
}

/* Importing gives the same results with a daemon and without. */

#define BYTES ((size_t)64 << 10)

static int memory_file(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)(2 * BYTES)), 0);
	return fd;
}

static void import_is(struct vdm_client *client, int fd, void *address, unsigned flags,
		      int expected)
{
	struct vdm_region *region = NULL;

	assert_int_equal(vdm_region_import(client, fd, address, BYTES, flags, &region), expected);
	if (expected == 0)
		vdm_region_release(region);
	else
		assert_null(region);
}

static void an_import_is_refused_where_the_address_is_not_the_file(void **state)
{
	const int both = PROT_READ | PROT_WRITE;
	struct vdm_client *client = open_local();
	int fd = memory_file(), other = memory_file();

	(void)state;
	char *good = mmap(NULL, 2 * BYTES, both, MAP_SHARED, fd, 0);
	char *private = mmap(NULL, BYTES, both, MAP_PRIVATE, fd, 0);
	char *stranger = mmap(NULL, BYTES, both, MAP_SHARED, other, 0);
	char *anonymous = mmap(NULL, BYTES, both, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *late = mmap(NULL, BYTES, both, MAP_SHARED, fd, BYTES);
	char *constant = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, fd, 0);
	char *secret = mmap(NULL, BYTES, PROT_WRITE, MAP_SHARED, fd, 0);

	import_is(client, fd, private, 0, -EINVAL);
	import_is(client, fd, stranger, 0, -EINVAL);
	import_is(client, fd, anonymous, 0, -EINVAL);
	import_is(client, fd, late, 0, -EINVAL);
	import_is(client, fd, good + 4096, 0, -EINVAL);
	import_is(client, fd, good + 1, 0, -EINVAL);
	import_is(client, fd, (void *)4096, 0, -EINVAL);
	import_is(client, fd, constant, 0, -EACCES);
	import_is(client, fd, constant, VDM_REGION_READONLY, 0);
	import_is(client, fd, secret, 0, -EACCES);
	import_is(client, fd, good, 0, 0);
	/* in several pieces it is good, but not with another file or a gap between them */
	assert_int_equal(mprotect(good + 4096, 4096, PROT_READ), 0);
	import_is(client, fd, good, 0, -EACCES);
	import_is(client, fd, good, VDM_REGION_READONLY, 0);
	assert_int_equal(mprotect(good + 4096, 4096, both), 0);
	import_is(client, fd, good, 0, 0);
	munmap(good + 4096, 4096);
	import_is(client, fd, good, 0, -EINVAL);
	assert_ptr_equal(mmap(good + 4096, 4096, both, MAP_SHARED | MAP_FIXED, fd, 8192),
			 good + 4096);
	import_is(client, fd, good, 0, -EINVAL);
	assert_ptr_equal(mmap(good + 4096, 4096, both, MAP_SHARED | MAP_FIXED, fd, 4096),
			 good + 4096);
	import_is(client, fd, good, 0, 0);
	close(fd);
	close(other);
	vdm_client_close(client);
}

static void a_file_is_a_region_once(void **state)
{
	struct vdm_client *client = open_local();
	struct vdm_region *region;
	int fd = memory_file();

	(void)state;
	assert_int_equal(vdm_region_import(client, fd, NULL, BYTES, 0, &region), 0);
	import_is(client, fd, NULL, 0, -EEXIST);
	vdm_region_release(region);
	import_is(client, fd, NULL, 0, 0);
	close(fd);
	vdm_client_close(client);
}

/* Over a part of a region of the library's, as a program may do with its own mapping. */
static void regions_do_not_overlap(void **state)
{
	struct vdm_client *client = open_local();
	struct vdm_region *region;
	int fd = memory_file();

	(void)state;
	assert_int_equal(vdm_region_alloc(client, 4 * BYTES, &region), 0);
	char *inside = (char *)vdm_region_address(region) + BYTES;

	assert_ptr_equal(mmap(inside, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0),
			 inside);
	import_is(client, fd, inside, 0, -EEXIST);
	vdm_region_release(region);
	close(fd);
	vdm_client_close(client);
}

static void expect_refused(struct vdm_ring *ring, char *dest, size_t n, int expected)
{
	static const char source[2 * BYTES] = {1};
	struct vdm_cqe *cqe;

	vdm_prep_memcpy(vdm_ring_get_sqe(ring), dest, source, n, 0);
	vdm_prep_memmove(vdm_ring_get_sqe(ring), dest, source, n, 0);
	vdm_prep_memset(vdm_ring_get_sqe(ring), dest, 1, n, 0);
	assert_int_equal(vdm_ring_submit(ring), 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(vdm_ring_wait_cqe(ring, &cqe), 0);
		assert_int_equal(cqe->result, expected);
		assert_int_equal(cqe->value, expected ? 0 : n);
		vdm_ring_cqe_seen(ring, cqe);
	}
}

/* Where the daemon says -EACCES, a store of this process's would end it. */
static void a_region_that_may_only_be_read_is_not_written_here(void **state)
{
	struct vdm_client *client = open_local();
	struct vdm_region *region;
	struct vdm_ring *ring;
	int fd = memory_file();

	(void)state;
	/* a page of the program's own on each side */
	char *around = mmap(NULL, BYTES + 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
	char *memory = mmap(around + 4096, BYTES, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);

	assert_int_equal(vdm_ring_open(client, NULL, &ring), 0);
	assert_int_equal(vdm_region_import(client, fd, memory, BYTES, VDM_REGION_READONLY, &region),
			 0);
	expect_refused(ring, memory, 1, -EACCES);
	expect_refused(ring, memory + BYTES - 1, 1, -EACCES);
	expect_refused(ring, memory, BYTES, -EACCES);
	expect_refused(ring, around, 4097, -EACCES);
	expect_refused(ring, around, BYTES + 8192, -EACCES);
	expect_refused(ring, memory + BYTES - 1, 2, -EACCES);
	expect_refused(ring, around, 4096, 0);
	expect_refused(ring, memory + BYTES, 4096, 0);
	vdm_ring_close(ring);
	vdm_region_release(region);
	munmap(around, BYTES + 8192);
	close(fd);
	vdm_client_close(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_options_are_refused_with_a_sentence),
		cmocka_unit_test(options_of_other_releases_are_understood),
		cmocka_unit_test(no_daemon_is_an_error_only_if_one_is_required),
		cmocka_unit_test(a_stranger_at_the_socket_is_no_daemon),
		cmocka_unit_test(regions_are_whole_zeroed_pages),
		cmocka_unit_test(imports_are_checked),
		cmocka_unit_test(extents_are_found_by_every_address_in_them_and_no_other),
		cmocka_unit_test(flat_memory_is_found_at_every_address),
		cmocka_unit_test(a_child_is_in_another_epoch_and_so_is_its_child),
		cmocka_unit_test(structures_of_other_sizes_are_filled_as_far_as_they_go),
		cmocka_unit_test(an_import_is_refused_where_the_address_is_not_the_file),
		cmocka_unit_test(a_file_is_a_region_once),
		cmocka_unit_test(regions_do_not_overlap),
		cmocka_unit_test(a_region_that_may_only_be_read_is_not_written_here),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
