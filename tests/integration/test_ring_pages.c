/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory of a ring is its client's: the client allocates every page of it, and its memory
 * cgroup is charged for them. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "cmocka_test.h"
#include "process_figures.h"
#include "raw_session.h"
#include "ring_use.h"
#include "scale.h"

#define ENTRIES 4096
#define RINGS   32

static size_t whole_pages(size_t bytes)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (bytes + page - 1) / page * page;
}

static size_t allocated(int fd)
{
	struct stat status;

	assert_int_equal(fstat(fd, &status), 0);
	return (size_t)status.st_blocks * 512;
}

/* Mapping a file that may only be read allocates its pages, too. */
static void the_client_allocates_every_page(void **state)
{
	(void)state;
	for (uint32_t entries = 2; entries <= ENTRIES; entries *= 2) {
		struct vdm_completion completion;
		struct raw_session session;
		struct raw_ring ring;

		raw_open(&session);
		assert_int_equal(raw_ring_make(&session, entries, 0, &ring), 0);
		assert_int_equal(allocated(ring.fds[VDM_RING_FD_SUBMISSION]), 0);
		assert_int_equal(allocated(ring.fds[VDM_RING_FD_COMPLETION]), 0);
		raw_ring_map(&ring);
		for (unsigned started = 0; started < 2; started++) {
			assert_int_equal(allocated(ring.fds[VDM_RING_FD_SUBMISSION]),
					 whole_pages(vdm_submission_size(entries)));
			assert_int_equal(allocated(ring.fds[VDM_RING_FD_COMPLETION]),
					 whole_pages(vdm_completion_size(entries)));
			if (started)
				break;
			raw_ring_start(&session, &ring);
			raw_entry(&ring); /* nop */
			raw_publish(&ring);
			assert_true(raw_await(&session, &ring, &completion));
		}
		raw_ring_forget(&ring);
		raw_close(&session);
	}
}

/* Rings that are never started cost other clients nothing. */
static void rings_that_are_not_started_hold_up_nobody(void **state)
{
	struct vdm_client *client = client_opened();
	struct vdm_ring *ring = ring_opened(client, 8, 0);
	const struct daemon_figures before = daemon_figures();
	struct raw_session session;
	struct raw_ring raw;
	unsigned made = 0;

	(void)state;
	raw_open(&session);
	while (raw_ring_make(&session, 64, 0, &raw) == 0) {
		raw_ring_forget(&raw);
		vdm_prep_nop(entry(ring));
		assert_int_equal(run_one(ring), 0);
		made++;
	}
	assert_int_equal(made, session.welcome.max_rings);
	assert_int_equal(daemon_figures().rings, before.rings + made);
	raw_close(&session);
	await_sessions(before.sessions);
	assert_int_equal(daemon_figures().rings, before.rings);
	assert_int_equal(daemon_figures().violated, before.violated);
	vdm_ring_close(ring);
	vdm_client_close(client);
}

static bool write_text(const char *directory, const char *name, const char *text)
{
	char path[256];

	snprintf(path, sizeof path, "%s/%s", directory, name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return written;
}

/* Bytes of shared memory that are charged to a cgroup; false: it does not count memory. */
static bool shared_memory(const char *directory, size_t *bytes)
{
	char path[256], line[256];

	snprintf(path, sizeof path, "%s/memory.stat", directory);
	FILE *file = fopen(path, "re");
	bool found = false;

	while (file && !found && fgets(line, sizeof line, file))
		found = sscanf(line, "shmem %zu", bytes) == 1;
	if (file)
		fclose(file);
	return found;
}

/* A new memory cgroup, of version 2 or 1. Returns whether there is one. */
static bool make_cgroup(char *directory, size_t size)
{
	static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/memory"};
	size_t bytes;

	for (unsigned i = 0; i < 2; i++) {
		snprintf(directory, size, "%s/vdm-test-%d", roots[i], (int)getpid());
		if (mkdir(directory, 0755) < 0)
			continue;
		if (shared_memory(directory, &bytes))
			return true;
		rmdir(directory);
	}
	return false;
}

/* In a process of its own: whether the cgroup is charged for all rings of a client in it. */
static bool is_charged(const char *directory)
{
	const size_t due = RINGS * (whole_pages(vdm_submission_size(ENTRIES)) +
				    whole_pages(vdm_completion_size(ENTRIES)));
	size_t before, after;

	if (!write_text(directory, "cgroup.procs", "0") || !shared_memory(directory, &before))
		return false;

	struct vdm_client *client = client_opened();

	for (unsigned i = 0; i < RINGS; i++) {
		struct vdm_ring *ring = ring_opened(client, ENTRIES, 0);

		vdm_prep_nop(entry(ring));
		run_one(ring);
	}
	if (!shared_memory(directory, &after))
		return false;
	printf("%zu bytes of rings; charged: %zu before, %zu after\n", due, before, after);
	fflush(stdout);
	return after - before >= due;
}

static void the_cgroup_of_the_client_is_charged(void **state)
{
	char directory[128];
	int status;

	(void)state;
	if (!make_cgroup(directory, sizeof directory)) {
		print_message("skipped: this user can make no memory cgroup\n");
		skip();
	}
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(is_charged(directory) ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	rmdir(directory);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_client_allocates_every_page),
		cmocka_unit_test(rings_that_are_not_started_hold_up_nobody),
		cmocka_unit_test(the_cgroup_of_the_client_is_charged),
	};

	guard_against_hanging(90);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
