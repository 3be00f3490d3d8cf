/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * User ids that are subordinate to a user have that user's limits. /etc/subuid, which
 * with_subuid.sh has replaced, says 30000:700000:65536, and a user may have three sessions.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "client_processes.h"
#include "cmocka_test.h"
#include "process_figures.h"
#include "ring_use.h"
#include "scale.h"

#define OWNER       30000
#define STRANGER    30001
#define SUBORDINATE 700000

static void become(uid_t uid)
{
	CHECK(setgid(uid) == 0 && setuid(uid) == 0, "changing the user: %s", strerror(errno));
}

static int try_to_open(void)
{
	const struct vdm_options options = {.size = sizeof options,
					    .flags = VDM_OPTION_REQUIRE_DAEMON};
	struct vdm_client *client;
	int result = vdm_client_open(&options, &client);

	if (!result)
		vdm_client_close(client);
	return result;
}

/* What processes tell each other. */
struct meeting {
	pid_t test;
	volatile unsigned holding;
	volatile int leave;
};

/* Keep a session until told to end it. */
static void hold_a_session(unsigned uid, void *argument)
{
	struct meeting *meeting = argument;

	become(uid);
	struct vdm_client *client = client_opened();

	__atomic_fetch_add(&meeting->holding, 1, __ATOMIC_SEQ_CST); /* all processes' */
	/* changing the user has undone prctl(2), PR_SET_PDEATHSIG */
	while (!meeting->leave && getppid() == meeting->test)
		usleep(1000);
	vdm_client_close(client);
}

static void is_refused_as_the_owner(unsigned uid, void *unused)
{
	(void)unused;
	become(uid);
	int result = try_to_open();

	CHECK(result == -EDQUOT, "user %u: %d", uid, result);
	CHECK(strstr(vdm_last_error(), "user 30000 may have 3 sessions"), "which user?");
}

static void is_served(unsigned uid, void *unused)
{
	(void)unused;
	become(uid);
	CHECK(try_to_open() == 0, "user %u", uid);
}

/* A report shows the ids that the kernel tells, and each id sees its own sessions alone. */
static void sees_its_own_sessions_only(unsigned uid, void *unused)
{
	struct vdm_status *status;

	(void)unused;
	become(uid);
	CHECK(vdm_status_read(NULL, &status) == 0, "status");
	CHECK(status->session_count > 0, "one's own session");
	for (uint32_t i = 0; i < status->session_count; i++)
		CHECK(status->session[i].uid == uid, "a session of user %u",
		      status->session[i].uid);
	free(status);
}

static void run(void (*body)(unsigned, void *), unsigned uid)
{
	client_joined(client_process(body, uid, NULL));
}

static void subordinate_ids_share_the_limits_of_their_owner(void **state)
{
	static const uid_t holders[] = {SUBORDINATE, SUBORDINATE + 65535, OWNER};
	struct meeting *meeting = shared_between_processes(sizeof *meeting);
	pid_t children[3];

	(void)state;
	meeting->test = getpid();
	run(sees_its_own_sessions_only, SUBORDINATE + 5);
	for (unsigned i = 0; i < 3; i++) {
		await_sessions(i + 1); /* the holders', and the one that asks */
		children[i] = client_process(hold_a_session, holders[i], meeting);
		while (meeting->holding <= i)
			usleep(1000);
		if (i == 1)
			run(sees_its_own_sessions_only, OWNER);
	}
	run(is_refused_as_the_owner, OWNER);
	run(is_refused_as_the_owner, SUBORDINATE);
	run(is_refused_as_the_owner, SUBORDINATE + 1);
	run(is_served, STRANGER);
	run(is_served, SUBORDINATE + 65536);
	meeting->leave = 1;
	for (unsigned i = 0; i < 3; i++)
		client_joined(children[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(subordinate_ids_share_the_limits_of_their_owner),
	};

	guard_against_hanging(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
