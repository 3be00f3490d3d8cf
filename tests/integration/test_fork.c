/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork(2): the child is told that the parent's objects are not its own, can open its own, and does
 * no harm to the parent's; and a session ends with the process that opened it.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "check.h"
#include "client_processes.h"
#include "process_figures.h"
#include "ring_use.h"
#include "scale.h"

#define BYTES ((size_t)1 << 20)

struct objects {
	struct vdm_client *client;
	struct vdm_ring *ring;
	struct vdm_region *region;
	char *memory;
};

static struct objects open_objects(void)
{
	struct objects o;

	o.client = client_opened();
	o.ring = ring_opened(o.client, 64, 0);
	o.memory = region_opened(o.client, BYTES, &o.region);
	return o;
}

static void close_objects(struct objects *o)
{
	vdm_ring_close(o->ring);
	vdm_region_release(o->region);
	vdm_client_close(o->client);
}

static void set_all(struct objects *o, int value, size_t length)
{
	for (unsigned i = 0; i < 16; i++) {
		struct vdm_sqe *sqe = entry(o->ring);

		vdm_prep_memset(sqe, o->memory + i * length, value, length, 0);
		sqe->user_data = i;
	}
}

static void collect(struct objects *o, int value, size_t length)
{
	int32_t results[16];

	run_all(o->ring, 16, results, NULL);
	for (unsigned i = 0; i < 16; i++)
		CHECK(results[i] == 0, "operation %u: %d", i, results[i]);
	for (size_t i = 0; i < 16 * length; i++)
		CHECK(o->memory[i] == (char)value, "byte %zu", i);
}

static void use_own_objects(void)
{
	struct objects own = open_objects();

	set_all(&own, 3, 1000);
	collect(&own, 3, 1000);
	CHECK(counters_of(own.client).offloaded == 16, "of the child's own client");
	close_objects(&own);
}

/* Every call on the parent's objects says so. */
static void touch_everything(unsigned index, void *argument)
{
	struct objects *o = argument;
	struct vdm_client_info info = {.size = sizeof info};
	struct vdm_client_counters counters = {.size = sizeof counters};
	struct vdm_cqe *cqe = NULL;
	struct vdm_region *region = NULL;
	struct vdm_ring *ring = NULL;

	(void)index;
	CHECK(vdm_ring_submit(o->ring) == -EOWNERDEAD, "submit");
	CHECK(strlen(vdm_last_error()) > 10, "an error without a sentence");
	CHECK(vdm_ring_get_sqe(o->ring) == NULL, "get_sqe");
	CHECK(vdm_ring_peek_cqe(o->ring, &cqe) == -EOWNERDEAD, "peek_cqe");
	CHECK(vdm_ring_peek_batch(o->ring, &cqe, 1) == 0, "peek_batch");
	CHECK(vdm_ring_wait_cqe(o->ring, &cqe) == -EOWNERDEAD, "wait_cqe");
	CHECK(vdm_ring_eventfd(o->ring) == -EOWNERDEAD, "eventfd");
	CHECK(vdm_client_info(o->client, &info) == -EOWNERDEAD, "info");
	CHECK(vdm_client_counters(o->client, &counters) == -EOWNERDEAD, "counters");
	CHECK(vdm_ring_open(o->client, NULL, &ring) == -EOWNERDEAD, "ring_open");
	CHECK(vdm_region_alloc(o->client, 4096, &region) == -EOWNERDEAD, "region_alloc");
	CHECK(vdm_region_import(o->client, vdm_region_fd(o->region), NULL, 4096, 0, &region) ==
		      -EOWNERDEAD,
	      "region_import");
	CHECK(!cqe && !region && !ring, "an output parameter of a failed call has changed");
	use_own_objects();
	/* closing frees what the child has of them */
	vdm_ring_close(o->ring);
	CHECK(vdm_region_release(o->region) == -EOWNERDEAD, "region_release");
	vdm_client_close(o->client);
	use_own_objects();
}

/* Some operations in flight, some prepared, at the moment of the fork. */
static void the_child_is_told_and_the_parent_goes_on(void)
{
	struct objects o = open_objects();

	for (unsigned round = 0; round < scaled(20); round++) {
		unsigned sessions = daemon_figures().sessions;

		set_all(&o, 7, BYTES / 16);
		if (round % 2)
			CHECK(vdm_ring_submit(o.ring) == 16, "submitting");
		pid_t child = client_process(touch_everything, round, &o);

		collect(&o, 7, BYTES / 16);
		client_joined(child);
		set_all(&o, 8, 64);
		collect(&o, 8, 64);
		await_sessions(sessions);
	}
	close_objects(&o);
}

static void default_client_of_child(unsigned index, void *argument)
{
	struct vdm_client *of_parent = argument;
	struct vdm_client *own = vdm_client_default();
	struct vdm_client_info info = {.size = sizeof info};

	(void)index;
	CHECK(own && own != of_parent, "the child got its parent's client");
	CHECK(vdm_client_info(own, &info) == 0 && info.connected, "the child's default client");
	CHECK(vdm_client_default() == own, "it should stay the same");
}

static void the_default_client_is_a_new_one_in_the_child(void)
{
	struct vdm_client *client = vdm_client_default();
	struct vdm_client_info info = {.size = sizeof info};

	client_joined(client_process(default_client_of_child, 0, client));
	CHECK(vdm_client_default() == client, "the parent's default client changed");
	CHECK(vdm_client_info(client, &info) == 0 && info.connected, "it was disconnected");
}

/* Opens a session, and leaves a child behind that has inherited all of its descriptors. */
static void parent_of_a_survivor(unsigned index, void *argument)
{
	volatile pid_t *survivor = argument;
	struct objects o = open_objects();

	(void)index;
	set_all(&o, 1, 64);
	collect(&o, 1, 64);
	pid_t child = fork();

	if (child == 0)
		for (;;)
			pause();
	*survivor = child;
	for (;;)
		pause();
}

static void a_session_ends_with_its_process_although_a_child_lives_on(void)
{
	pid_t *shared = shared_between_processes(sizeof *shared);
	volatile pid_t *survivor = shared;
	unsigned sessions = daemon_figures().sessions;
	pid_t parent = client_process(parent_of_a_survivor, 0, shared);

	while (*survivor == 0)
		usleep(1000);
	CHECK(daemon_figures().sessions == sessions + 1, "it has a session");
	kill(parent, SIGKILL);
	CHECK(waitpid(parent, NULL, 0) == parent, "waiting");
	await_sessions(sessions);
	CHECK(kill(*survivor, 0) == 0, "the child was to live until now");
	kill(*survivor, SIGKILL);
}

int main(int argc, char **argv)
{
	scale_from_arguments(argc, argv);
	guard_against_hanging(60);
	the_child_is_told_and_the_parent_goes_on();
	the_default_client_is_a_new_one_in_the_child();
	a_session_ends_with_its_process_although_a_child_lives_on();
	return 0;
}
