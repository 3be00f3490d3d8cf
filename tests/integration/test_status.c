/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon counts what its clients did, and each user sees only its own sessions. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "client_processes.h"
#include "cmocka_test.h"
#include "process_figures.h"
#include "raw_session.h"
#include "ring_use.h"
#include "scale.h"

static struct vdm_status *read_status(void)
{
	struct vdm_status *status = NULL;
	int result = vdm_status_read(NULL, &status);

	CHECK(result == 0 && status, "status: %s", strerror(-result));
	return status;
}

/* This process's session: the only one with a ring. */
static const struct vdm_status_session *own(const struct vdm_status *status)
{
	for (uint32_t i = 0; i < status->session_count; i++)
		if (status->session[i].pid == (uint32_t)getpid() && status->session[i].rings > 0)
			return &status->session[i];
	return NULL;
}

static void counters_tell_what_was_done(void **state)
{
	struct vdm_client *client = client_opened();
	struct vdm_ring *ring = ring_opened(client, 64, 0), *second = ring_opened(client, 64, 0);
	struct vdm_region *region;
	char *memory = region_opened(client, 100000, &region);
	struct vdm_status *before = read_status(), *after;
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		struct vdm_sqe *sqe = entry(ring);

		if (i < 10)
			vdm_prep_memcpy(sqe, memory, memory + 1000, 1000, 0);
		else if (i < 17)
			vdm_prep_memmove(sqe, memory, memory + 20000, 12000, 0);
		else if (i < 30)
			vdm_prep_memset(sqe, memory, 1, 100, 0);
		else if (i < 33)
			vdm_prep_flush(sqe, memory, 100, 0);
		else
			vdm_prep_nop(sqe);
		sqe->user_data = n++;
	}
	run_all(ring, n, NULL, NULL);
	vdm_prep_memset(entry(second), memory, 1, 15000, 0);
	assert_int_equal(run_one(second), 0);

	const uint64_t bytes = 10 * 1000 + 7 * 12000 + 13 * 100 + 15000;
	struct vdm_client_counters counters = counters_of(client);

	assert_int_equal(counters.offloaded, 51);
	assert_int_equal(counters.offloaded_bytes, bytes);
	assert_int_equal(counters.failed, 0);
	after = read_status();
	const struct vdm_status_session *session = own(after);

	assert_non_null(session);
	assert_int_equal(session->counts.memcpy, 10);
	assert_int_equal(session->counts.memmove, 7);
	assert_int_equal(session->counts.memset, 14);
	assert_int_equal(session->counts.flush, 3);
	assert_int_equal(session->counts.nop, 17);
	assert_int_equal(session->counts.failed, 0);
	assert_int_equal(session->counts.bytes, bytes);
	assert_int_equal(session->rings, 2);
	assert_int_equal(session->regions, 1);
	assert_int_equal(session->mapped_bytes, vdm_region_size(region));
	assert_int_equal(session->in_flight, 0);
	assert_int_equal(session->uid, getuid());
	assert_string_equal(session->command, "test_status");
	assert_int_equal(after->counts.memset - before->counts.memset, 14);
	assert_int_equal(after->counts.bytes - before->counts.bytes, bytes);
	assert_int_equal(after->pid, daemon_pid());
	assert_true(after->uptime_ns > before->uptime_ns);
	assert_string_equal(after->version, VDM_VERSION);
	free(before);
	free(after);

	vdm_ring_close(ring);
	vdm_ring_close(second);
	vdm_region_release(region);
	vdm_client_close(client);
}

/* What ended sessions did stays in the totals. */
static void totals_include_ended_sessions(void **state)
{
	struct vdm_status *before = read_status();

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		struct vdm_client *client = client_opened();
		struct vdm_ring *ring = ring_opened(client, 4, 0);
		struct vdm_region *region;
		char *memory = region_opened(client, 4096, &region);

		vdm_prep_memset(entry(ring), memory, 1, 1000 + i, 0);
		assert_int_equal(run_one(ring), 0);
		vdm_ring_close(ring);
		vdm_region_release(region);
		vdm_client_close(client);
	}
	await_sessions(1); /* the one that asks */
	struct vdm_status *after = read_status();

	assert_int_equal(after->counts.memset - before->counts.memset, 5);
	assert_int_equal(after->counts.bytes - before->counts.bytes, 5 * 1000 + 10);
	assert_int_equal(after->mapped_bytes, 0);
	assert_int_equal(after->rings, 0);
	assert_int_equal(after->regions, 0);
	free(before);
	free(after);
}

static void failures_are_counted(void **state)
{
	struct raw_session session;
	struct raw_ring ring;
	struct vdm_completion completion;

	(void)state;
	raw_open(&session);
	assert_int_equal(raw_ring_create(&session, 4, 0, &ring), 0);
	for (unsigned i = 0; i < 3; i++) {
		raw_entry(&ring)->opcode = 77;
		raw_publish(&ring);
		assert_true(raw_await(&session, &ring, &completion));
		assert_int_equal(completion.result, -EINVAL);
	}
	struct vdm_status *status = read_status();

	assert_non_null(own(status));
	assert_int_equal(own(status)->counts.failed, 3);
	assert_int_equal(own(status)->counts.nop, 0);
	free(status);
	raw_ring_forget(&ring);
	raw_close(&session);
}

/* Opens a session as another user, tells that it is there, and stays until it is told to go. */
struct other_user {
	volatile int there, leave;
};

static void another_user(unsigned index, void *argument)
{
	struct other_user *other = argument;

	CHECK(setgid(30000 + index) == 0 && setuid(30000 + index) == 0, "changing the user");
	struct vdm_client *client = client_opened();
	struct vdm_status *status = read_status();

	CHECK(status->sessions >= 3, "the totals are for everybody: %u sessions", status->sessions);
	CHECK(status->session_count >= 1, "one's own session");
	for (uint32_t i = 0; i < status->session_count; i++)
		CHECK(status->session[i].uid == 30000 + index, "a session of user %u",
		      status->session[i].uid);
	free(status);
	other->there = 1;
	while (!other->leave)
		usleep(1000);
	vdm_client_close(client);
}

static void users_see_their_own_sessions_only(void **state)
{
	struct other_user *other = shared_between_processes(sizeof *other);
	unsigned found = 0;

	(void)state;
	if (getuid() != 0) {
		print_message("changing the user needs root\n");
		skip();
	}
	struct vdm_client *client = client_opened();
	pid_t child = client_process(another_user, 1, other);

	while (!other->there)
		usleep(1000);
	/* root sees all */
	struct vdm_status *status = read_status();

	for (uint32_t i = 0; i < status->session_count; i++)
		found += status->session[i].uid == 30001;
	assert_int_equal(found, 1);
	free(status);
	other->leave = 1;
	client_joined(child);
	vdm_client_close(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(totals_include_ended_sessions),
		cmocka_unit_test(counters_tell_what_was_done),
		cmocka_unit_test(failures_are_counted),
		cmocka_unit_test(users_see_their_own_sessions_only),
	};

	guard_against_hanging(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
