/* SPDX-License-Identifier: BSD-3-Clause */
/* Clients and rings that come and go by the ten thousand leave nothing behind, on either side. */
#include "check.h"
#include "process_figures.h"
#include "ring_use.h"
#include "scale.h"

static void use(struct vdm_client *client, unsigned round)
{
	struct vdm_ring *ring = ring_opened(client, 2u << round % 6, round);

	vdm_prep_nop(entry(ring));
	/* some are closed with an operation in flight */
	if (round % 4 == 0)
		CHECK(vdm_ring_submit(ring) == 1, "round %u", round);
	else
		CHECK(run_one(ring) == 0, "round %u", round);
	if (round % 8 == 0)
		CHECK(vdm_ring_eventfd(ring) >= 0, "round %u", round);
	vdm_ring_close(ring);
}

static void clients_come_and_go(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct vdm_client *client = client_opened();
		struct vdm_region *region = NULL;

		if (i % 4 == 0)
			region_opened(client, 4096, &region);
		use(client, i);
		vdm_region_release(region);
		vdm_client_close(client);
	}
}

static void rings_come_and_go(unsigned count)
{
	struct vdm_client *client = client_opened();

	for (unsigned i = 0; i < count; i++)
		use(client, i);
	vdm_client_close(client);
}

/* After many sessions at once the daemon gives their memory back to the kernel. */
static void a_crowd_leaves_no_memory(void)
{
	static struct vdm_client *clients[200];
	const unsigned count = sizeof clients / sizeof *clients;
	unsigned before = anonymous_kib(daemon_pid());

	for (unsigned i = 0; i < count; i++)
		clients[i] = client_opened();
	unsigned crowded = anonymous_kib(daemon_pid());

	CHECK(is_sanitized() || crowded > before + 1000,
	      "%u KiB with the crowd, and %u before: a larger one is wanted here", crowded, before);
	for (unsigned i = 0; i < count; i++)
		vdm_client_close(clients[i]);
	await_sessions(1);
	unsigned after = anonymous_kib(daemon_pid());

	CHECK(is_sanitized() || after < before + 500,
	      "%u KiB after the crowd has left, and %u before", after, before);
}

int main(int argc, char **argv)
{
	scale_from_arguments(argc, argv);
	guard_against_hanging(90);
	/* what is opened once and kept */
	clients_come_and_go(2);
	await_sessions(1);

	unsigned own_fds = count_fds(getpid()), own_mappings = count_memfd_mappings(getpid());
	unsigned fds = count_fds(daemon_pid()), mappings = count_memfd_mappings(daemon_pid());

	clients_come_and_go((unsigned)scaled(10000));
	rings_come_and_go((unsigned)scaled(10000));
	a_crowd_leaves_no_memory();
	CHECK(count_fds(getpid()) == own_fds, "%u descriptors here, and %u before",
	      count_fds(getpid()), own_fds);
	CHECK(count_memfd_mappings(getpid()) == own_mappings, "mappings here");
	await_sessions(1);
	await_figure("descriptors of the daemon", count_fds, daemon_pid(), fds);
	await_figure("memory files mapped by the daemon", count_memfd_mappings, daemon_pid(),
		     mappings);
	struct daemon_figures figures = daemon_figures();

	CHECK(figures.rings == 0 && figures.regions == 0, "%u rings, %u regions left",
	      figures.rings, figures.regions);
	CHECK(figures.violated == 0, "%llu sessions violated the protocol",
	      (unsigned long long)figures.violated);
	return 0;
}
