/* SPDX-License-Identifier: BSD-3-Clause */
/* A client's session as a whole, like test_session: rings, which the daemon makes, and regions. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/engine.h"
#include "live_daemon.h"
#include "proto/ring.h"
#include "tests/start_ring.h"

static void rings(void **state)
{
	struct vdm_packet reply;

	(void)state;
	greet();
	assert_int_equal(create_ring(0, &reply), -EINVAL);
	assert_int_equal(create_ring(1, &reply), -EINVAL);
	assert_int_equal(create_ring(3, &reply), -EINVAL);
	assert_int_equal(create_ring(8192, &reply), -EINVAL);
	assert_int_equal(create_ring(UINT32_MAX, &reply), -EINVAL);
	assert_int_equal(create_ring(128, &reply), -EDQUOT);
	assert_non_null(strstr(reply.message.refused.text, "entries_per_ring"));
	assert_int_equal(create_ring(64, &reply), 0);

	uint32_t id = reply.message.ring_created.ring;

	assert_int_equal(create_ring(2, &reply), 0);
	assert_int_equal(create_ring(2, &reply), -EDQUOT);
	assert_non_null(strstr(reply.message.refused.text, "rings_per_session"));
	assert_int_equal(held(RESOURCE_RINGS), 2);
	assert_int_equal(give_back(VDM_MESSAGE_RING_DESTROY, id + 100, 0), -ENOENT);
	assert_int_equal(give_back(VDM_MESSAGE_RING_DESTROY, id, 0), 0);
	assert_int_equal(give_back(VDM_MESSAGE_RING_DESTROY, id, 0), -ENOENT);
	assert_int_equal(held(RESOURCE_RINGS), 1);
	assert_int_equal(create_ring(2, &reply), 0);
	assert_int_equal(give_back(VDM_MESSAGE_RING_DESTROY, id, 1), -ENOTCONN);
}

/* Zeroed memory would look as if the first operation were complete. */
static void rings_that_begin_too_far_are_refused(void **state)
{
	static const struct {
		uint32_t first, entries;
		int result;
	} rings[] = {{UINT32_MAX - 1, 2, 0},
		     {UINT32_MAX, 2, -EINVAL},
		     {UINT32_MAX, 64, -EINVAL},
		     {UINT32_MAX - 63, 64, 0}};
	struct vdm_packet reply;

	(void)state;
	greet();
	for (size_t i = 0; i < sizeof rings / sizeof *rings; i++) {
		assert_int_equal(make_ring(rings[i].entries, rings[i].first, &reply),
				 rings[i].result);
		if (rings[i].result)
			assert_non_null(strstr(reply.message.refused.text, "last position"));
		else
			vdm_packet_close(&reply);
	}
}

static off_t allocated(int fd)
{
	struct stat status;

	assert_int_equal(fstat(fd, &status), 0);
	return status.st_blocks * 512;
}

/*
 * A client can neither resize a ring's memory, nor write completions, nor take away pages of a ring
 * that it has started.
 */
static void ring_memory_is_sealed(void **state)
{
	const size_t size = vdm_submission_size(4);
	struct vdm_packet reply;

	(void)state;
	greet();
	assert_int_equal(make_ring(4, 0, &reply), 0);

	void *submission = start_ring(&reply);

	for (unsigned i = 0; i < 2; i++) {
		int fd = reply.fds[i];

		assert_int_equal(ftruncate(fd, 0), -1);
		assert_int_equal(ftruncate(fd, 1 << 20), -1);
		assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0),
				 MAP_FAILED);
		assert_int_equal(pwrite(fd, "x", 1, 0), -1);
		assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096),
				 -1);
		assert_int_equal(fcntl(fd, F_GET_SEALS),
				 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
		assert_int_equal(allocated(fd), 8192);
	}
	assert_int_equal(fcntl(reply.fds[VDM_RING_FD_COMPLETION], F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(madvise(submission, size, MADV_REMOVE), -1);
	munmap(submission, size);
	vdm_packet_close(&reply);
}

/* Even one who may open the file, as this test may, for it runs as the daemon does. */
static void completions_cannot_be_written_before_the_start_either(void **state)
{
	struct vdm_packet reply;
	char path[64];

	(void)state;
	greet();
	assert_int_equal(make_ring(4, 0, &reply), 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", reply.fds[VDM_RING_FD_COMPLETION]);
	fchmod(reply.fds[VDM_RING_FD_COMPLETION], 0600);

	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
	close(fd);
	vdm_packet_close(&reply);
}

/* The client is charged for all pages: the daemon touches none before they are there. */
static void the_client_populates_both_files(void **state)
{
	struct vdm_packet reply;

	(void)state;
	greet();
	assert_int_equal(make_ring(64, 0, &reply), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(allocated(reply.fds[i]), 0);

	void *completion = map_file(&reply, VDM_RING_FD_COMPLETION);

	assert_int_equal(allocated(reply.fds[VDM_RING_FD_SUBMISSION]), 0);
	assert_int_equal(allocated(reply.fds[VDM_RING_FD_COMPLETION]), 8192);
	for (size_t i = 0; i < vdm_completion_size(64); i++)
		assert_int_equal(((const char *)completion)[i], 0);
	munmap(start_ring(&reply), vdm_submission_size(64));
	assert_int_equal(allocated(reply.fds[VDM_RING_FD_SUBMISSION]), 8192);
	/* and it is prepared now */
	assert_int_equal(vdm_completions(completion)[63].sequence, 0);
	assert_int_equal(vdm_completions(completion)[62].sequence, UINT32_MAX);
	munmap(completion, vdm_completion_size(64));
	vdm_packet_close(&reply);
}

/* What a client may leave out of its part. */
enum omission {
	POPULATE_SUBMISSION = 1,
	POPULATE_COMPLETION = 2,
	LAST_PAGE = 4, /* of those that are not left out altogether */
	SEAL = 8,
	PAGE_KEPT = 16, /* a page is punched out before the seal */
};

static void start_without(unsigned omitted, struct vdm_packet *created)
{
	const struct vdm_message_ring_start message =
		ring_start(created->message.ring_created.ring);
	const unsigned omit[] = {POPULATE_SUBMISSION, POPULATE_COMPLETION};
	int submission = created->fds[VDM_RING_FD_SUBMISSION];

	for (unsigned i = 0; i < 2; i++)
		if (!(omitted & omit[i])) {
			size_t size = omitted & LAST_PAGE ? 4096 : 8192;

			munmap(map_populated(created->fds[i], size, PROT_READ), size);
		}
	if (!omitted) { /* or a worker would find an impossible ring */
		void *memory = map_file(created, VDM_RING_FD_SUBMISSION);

		vdm_submission_prepare(memory, 64, 0);
		munmap(memory, vdm_submission_size(64));
	}
	if (omitted & PAGE_KEPT)
		assert_int_equal(fallocate(submission, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					   4096, 4096),
				 0);
	if (!(omitted & SEAL))
		assert_int_equal(seal_submission(submission), 0);
	assert_int_equal(vdm_packet_send(client, &message.header, NULL, 0), 0);
}

static void a_ring_starts_when_the_client_has_done_its_part(void **state)
{
	static const struct {
		unsigned omitted;
		bool violates;
	} starts[] = {
		{0, false},
		{POPULATE_SUBMISSION, true},
		{POPULATE_COMPLETION, true},
		{POPULATE_SUBMISSION | LAST_PAGE, true},
		{POPULATE_COMPLETION | LAST_PAGE, true},
		{POPULATE_SUBMISSION | POPULATE_COMPLETION, true},
		{SEAL, true},
		{PAGE_KEPT, true},
	};
	uint64_t ended = 0;

	(void)state;
	for (unsigned i = 0; i < sizeof starts / sizeof *starts; i++) {
		struct vdm_packet created;

		greet();
		assert_int_equal(make_ring(64, 0, &created), 0);
		start_without(starts[i].omitted, &created);
		ended += starts[i].violates;
		assert_int_equal(synchronize(), starts[i].violates ? -ENOTCONN : 0);
		assert_int_equal(violated(), ended);
		vdm_packet_close(&created);
		next_client();
	}
}

/* Pages beyond the end do not stand in for others. */
static void a_ring_has_no_pages_beyond_its_end(void **state)
{
	struct vdm_packet created;

	(void)state;
	greet();
	assert_int_equal(make_ring(64, 0, &created), 0);
	assert_int_equal(fallocate(created.fds[VDM_RING_FD_SUBMISSION], FALLOC_FL_KEEP_SIZE, 8192,
				   8192),
			 -1);
	assert_int_equal(errno, EPERM);
	vdm_packet_close(&created);
}

static void expect_violation(const struct vdm_message_ring_start *message, const char *reason)
{
	assert_int_equal(vdm_packet_send(client, &message->header, NULL, 0), 0);
	assert_int_equal(synchronize(), -ENOTCONN);
	assert_int_equal(violated(), 1);
	assert_non_null(strstr(last_logged(), reason));
}

static void a_ring_starts_once(void **state)
{
	struct vdm_packet created;

	(void)state;
	greet();
	assert_int_equal(make_ring(4, 0, &created), 0);
	munmap(start_ring(&created), vdm_submission_size(4));

	const struct vdm_message_ring_start again = ring_start(created.message.ring_created.ring);

	expect_violation(&again, "started a ring twice");
	vdm_packet_close(&created);
}

static void a_start_with_reserved_bits_is_a_violation(void **state)
{
	struct vdm_packet created;

	(void)state;
	greet();
	assert_int_equal(make_ring(4, 0, &created), 0);

	struct vdm_message_ring_start message = ring_start(created.message.ring_created.ring);

	munmap(map_file(&created, VDM_RING_FD_SUBMISSION), vdm_submission_size(4));
	munmap(map_file(&created, VDM_RING_FD_COMPLETION), vdm_completion_size(4));
	assert_int_equal(seal_submission(created.fds[VDM_RING_FD_SUBMISSION]), 0);
	message.reserved = 1;
	expect_violation(&message, "reserved bits");
	vdm_packet_close(&created);
}

static void a_ring_that_is_destroyed_does_not_start(void **state)
{
	struct vdm_packet created;

	(void)state;
	greet();
	assert_int_equal(make_ring(4, 0, &created), 0);

	const struct vdm_message_ring_start late = ring_start(created.message.ring_created.ring);

	assert_int_equal(give_back(VDM_MESSAGE_RING_DESTROY, late.ring, 0), 0);
	expect_violation(&late, "does not exist");
	vdm_packet_close(&created);
}

/* Of rings, a client may have as many as are allowed, and no more descriptors of the daemon. */
static void rings_need_not_be_started(void **state)
{
	const uint64_t descriptors = 2; /* of the session */
	struct vdm_message_status status = {{VDM_MESSAGE_STATUS, sizeof status}};
	struct vdm_packet reply;

	(void)state;
	greet();
	for (unsigned i = 0; i < 300; i++) {
		assert_int_equal(create_ring(64, &reply), 0);
		assert_int_equal(held(RESOURCE_DESCRIPTORS), descriptors + 4);
		assert_int_equal(create_ring(64, &reply), 0);
		assert_int_equal(create_ring(64, &reply), -EDQUOT);
		assert_int_equal(held(RESOURCE_DESCRIPTORS), descriptors + 8);
		assert_int_equal(ask_for(&status, NULL, 0, VDM_MESSAGE_STATUS_REPLY, &reply), 0);
		vdm_packet_close(&reply);
		for (uint32_t id = 2 * i + 1; id <= 2 * i + 2; id++)
			assert_int_equal(give_back(VDM_MESSAGE_RING_DESTROY, id, 0), 0);
		assert_int_equal(held(RESOURCE_DESCRIPTORS), descriptors);
	}
	assert_int_equal(create_ring(64, &reply), 0);
	/* and the session ends with one */
}

/* The files are closed when the ring has started. */
static void a_started_ring_holds_two_descriptors(void **state)
{
	struct vdm_packet created;

	(void)state;
	greet();
	assert_int_equal(make_ring(64, 0, &created), 0);
	munmap(start_ring(&created), vdm_submission_size(64));
	assert_int_equal(held(RESOURCE_DESCRIPTORS), 2 + 2);
	vdm_packet_close(&created);
}

/* A client does not wait between starting a ring and using it, and rings no doorbell meanwhile. */
static void what_is_submitted_before_the_start_is_served(void **state)
{
	const uint32_t firsts[] = {0, 0x7fffffff, 0x80000000, UINT32_MAX - 4};
	struct vdm_packet created;

	(void)state;
	greet();
	for (unsigned i = 0; i < sizeof firsts / sizeof *firsts; i++) {
		const uint32_t first = firsts[i];

		assert_int_equal(make_ring(4, first, &created), 0);

		void *submission = map_file(&created, VDM_RING_FD_SUBMISSION);
		void *completion = map_file(&created, VDM_RING_FD_COMPLETION);
		const struct vdm_message_ring_start message =
			ring_start(created.message.ring_created.ring);

		vdm_submission_prepare(submission, 4, first);
		assert_int_equal(seal_submission(created.fds[VDM_RING_FD_SUBMISSION]), 0);
		atomic_store(&vdm_descriptors(submission)[first & 3].sequence, first + 1); /* nop */
		assert_int_equal(vdm_packet_send(client, &message.header, NULL, 0), 0);
		AWAIT(atomic_load(&vdm_completions(completion)[first & 3].sequence) == first + 1);
		assert_int_equal(give_back(VDM_MESSAGE_RING_DESTROY, message.ring, 0), 0);
		munmap(submission, vdm_submission_size(4));
		munmap(completion, vdm_completion_size(4));
		vdm_packet_close(&created);
	}
}

static _Atomic bool no_bells;

int __real_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);

int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	if (no_bells && operation == EPOLL_CTL_ADD) {
		errno = ENOSPC; /* as when the user has as many watches as it may, epoll(7) */
		return -1;
	}
	return __real_epoll_ctl(epoll, operation, fd, event);
}

/* That is not the client's fault. */
static void a_ring_that_the_daemon_cannot_serve_ends_the_session(void **state)
{
	struct vdm_packet created;

	(void)state;
	greet();
	assert_int_equal(make_ring(64, 63, &created), 0);
	no_bells = true;
	start_without(0, &created);
	assert_int_equal(synchronize(), -ENOTCONN);
	no_bells = false;
	assert_non_null(strstr(last_logged(), "cannot serve another ring: No space left"));
	assert_int_equal(violated(), 0);
	vdm_packet_close(&created);
}

static void regions(void **state)
{
	int first = memory_file(64 << 10), second = memory_file(64 << 10),
	    third = memory_file(4096);
	int large = memory_file(2 << 20);
	uint32_t id = 0, other;

	(void)state;
	greet();
	assert_int_equal(add_region(first, 64 << 10, 0, &id), 0);
	assert_true(id != 0);
	assert_int_equal(add_region(first, 4096, 0, &other), -EEXIST);
	assert_int_equal(add_region(large, 2 << 20, 0, &other), -EDQUOT); /* region_bytes */
	/* mapped_bytes_per_user */
	assert_int_equal(add_region(large, 128 << 10, 0, &other), -EDQUOT);
	assert_int_equal(add_region(second, 64 << 10, VDM_REGION_READ_ONLY, &other), 0);
	assert_int_equal(add_region(third, 4096, 0, &other), -E2BIG);
	assert_int_equal(held(RESOURCE_MAPPED_BYTES), 128 << 10);
	assert_int_equal(give_back(VDM_MESSAGE_REGION_REMOVE, id + 1000, 0), -ENOENT);
	assert_int_equal(give_back(VDM_MESSAGE_REGION_REMOVE, id, 0), 0);
	assert_int_equal(give_back(VDM_MESSAGE_REGION_REMOVE, id, 0), -ENOENT);
	assert_int_equal(held(RESOURCE_MAPPED_BYTES), 64 << 10);
	assert_int_equal(add_region(third, 4096, 1u << 31, &other), -ENOTCONN);
	close(first);
	close(second);
	close(third);
	close(large);
}

static void a_session_that_ends_gives_everything_back(void **state)
{
	struct vdm_packet reply;
	int fd = memory_file(4096);
	uint32_t id;

	(void)state;
	greet();
	assert_int_equal(create_ring(64, &reply), 0);
	assert_int_equal(add_region(fd, 4096, 0, &id), 0);
	close(fd);
	/* and tear_down() looks */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(rings),
		TEST(ring_memory_is_sealed),
		TEST(rings_that_begin_too_far_are_refused),
		TEST(completions_cannot_be_written_before_the_start_either),
		TEST(the_client_populates_both_files),
		TEST(a_ring_starts_when_the_client_has_done_its_part),
		TEST(a_ring_has_no_pages_beyond_its_end),
		TEST(a_ring_starts_once),
		TEST(a_start_with_reserved_bits_is_a_violation),
		TEST(a_ring_that_is_destroyed_does_not_start),
		TEST(rings_need_not_be_started),
		TEST(a_started_ring_holds_two_descriptors),
		TEST(what_is_submitted_before_the_start_is_served),
		TEST(a_ring_that_the_daemon_cannot_serve_ends_the_session),
		TEST(regions),
		TEST(a_session_that_ends_gives_everything_back),
	};

	return cmocka_run_group_tests(tests, start_spawner, stop_spawner);
}
