/* SPDX-License-Identifier: BSD-3-Clause */
#include "honest.h"

#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libvdm.h>

#include "attack.h"
#include "integration/client_processes.h"

#define COPY_BYTES   4096
#define REGION_BYTES ((size_t)1 << 20)

struct honest_shared {
	_Atomic bool pause, paused;
	_Atomic unsigned refused, wrong, local;
	_Atomic bool explained;
	char explanation[200];
	struct samples connects, copies;
};

static void pause_ms(unsigned ms)
{
	attack_pause_ms(ms);
}

/* Count a fault, and keep a sentence about the first one. */
static void fault(struct honest_shared *shared, _Atomic unsigned *counter, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void fault(struct honest_shared *shared, _Atomic unsigned *counter, const char *format, ...)
{
	char text[sizeof shared->explanation];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (!atomic_exchange(&shared->explained, true))
		memcpy(shared->explanation, text, sizeof text);
	atomic_fetch_add(counter, 1);
}

/* What both of them need. Zeroed: not open. */
struct workplace {
	struct vdm_client *client;
	struct vdm_ring *ring;
	struct vdm_region *region;
};

static void leave(struct workplace *place)
{
	vdm_ring_close(place->ring);
	vdm_region_release(place->region);
	vdm_client_close(place->client);
	*place = (struct workplace){0};
}

static bool enter(struct workplace *place, struct honest_shared *shared)
{
	const struct vdm_options options = {.size = sizeof options,
					    .flags = VDM_OPTION_REQUIRE_DAEMON,
					    .entries = 16,
					    .offload_threshold = 1};
	const char *step = "connecting";
	int result = vdm_client_open(&options, &place->client);

	if (!result) {
		step = "opening a ring";
		result = vdm_ring_open(place->client, NULL, &place->ring);
	}
	if (!result) {
		step = "adding a region";
		result = vdm_region_alloc(place->client, REGION_BYTES, &place->region);
	}
	if (!result)
		return true;
	fault(shared, &shared->refused, "%s: %s: %.140s", step, strerror(-result),
	      vdm_last_error());
	leave(place);
	return false;
}

/* Copy from the first half of the region to the second, and compare. */
static bool copy(struct workplace *place, struct honest_shared *shared, unsigned char value,
		 size_t bytes)
{
	unsigned char *from = vdm_region_address(place->region), *to = from + REGION_BYTES / 2;
	struct vdm_cqe *cqe;

	memset(from, value, bytes);
	memset(to, ~value, bytes);
	vdm_prep_memcpy(vdm_ring_get_sqe(place->ring), to, from, bytes, 0);

	int result = vdm_ring_submit(place->ring);

	if (result == 1)
		result = vdm_ring_wait_cqe(place->ring, &cqe);
	if (!result) {
		result = cqe->result;
		vdm_ring_cqe_seen(place->ring, cqe);
	}
	if (result) {
		fault(shared, &shared->refused, "copying: %s: %.140s", strerror(-result),
		      vdm_last_error());
		return false;
	}
	for (size_t i = 0; i < bytes; i++)
		if (to[i] != value) {
			fault(shared, &shared->wrong, "byte %zu of a copy is wrong", i);
			return true;
		}
	return true;
}

static void count_local(struct workplace *place, struct honest_shared *shared)
{
	struct vdm_client_counters counters = {.size = sizeof counters};

	if (vdm_client_counters(place->client, &counters) == 0 && counters.local_disconnected > 0)
		fault(shared, &shared->local,
		      "a copy ran here, for the daemon had ended the session");
}

static void connect_again_and_again(struct honest_shared *shared)
{
	struct workplace place = {0};

	for (unsigned char n = 0;; n++) {
		bool well = false;

		while (atomic_load(&shared->pause)) {
			atomic_store(&shared->paused, true);
			pause_ms(1);
		}
		atomic_store(&shared->paused, false);
		sample_begin(&shared->connects);
		if (enter(&place, shared)) {
			well = copy(&place, shared, n, REGION_BYTES / 2);
			count_local(&place, shared);
			leave(&place);
		}
		sample_end(&shared->connects);
		pause_ms(well ? 2 : 50);
	}
}

static void copy_each_millisecond(struct honest_shared *shared)
{
	struct workplace place = {0};

	for (unsigned char n = 0;; n++) {
		while (!place.client && !enter(&place, shared))
			pause_ms(50);
		sample_begin(&shared->copies);
		bool well = copy(&place, shared, n, COPY_BYTES);

		sample_end(&shared->copies);
		if (n == 0 || !well)
			count_local(&place, shared);
		if (!well)
			leave(&place);
		pause_ms(1);
	}
}

/* client_process() has guards that are shorter than this may take. */
static void become_honest(struct honest_shared *shared, void (*body)(struct honest_shared *shared))
{
	if (setgroups(0, NULL) != 0 || setresgid(HONEST_UID, HONEST_UID, HONEST_UID) != 0 ||
	    setresuid(HONEST_UID, HONEST_UID, HONEST_UID) != 0)
		_exit(1);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* changing the user clears it, prctl(2) */
	body(shared);
}

static pid_t start(struct honest_shared *shared, void (*body)(struct honest_shared *shared))
{
	pid_t child = attack_fork();

	if (child == 0)
		become_honest(shared, body);
	return child;
}

bool honest_start(struct honest *honest)
{
	struct honest_shared *shared = honest->shared;

	if (!shared)
		shared = shared_between_processes(sizeof *shared);
	*honest = (struct honest){.shared = shared};
	atomic_store(&shared->pause, false);
	atomic_store(&shared->paused, false);
	atomic_store(&shared->connects.count, 0);
	atomic_store(&shared->copies.count, 0);
	atomic_store(&shared->connects.began_ns, 0);
	atomic_store(&shared->copies.began_ns, 0);
	honest->connector = start(shared, connect_again_and_again);
	honest->copier = start(shared, copy_each_millisecond);
	honest_measure(honest);
	for (unsigned i = 0; i < 10000; i++) {
		if (honest_faults(honest).first[0])
			return false;
		if (atomic_load(&shared->connects.count) >= 20 &&
		    atomic_load(&shared->copies.count) >= 20)
			return true;
		pause_ms(1);
	}
	return false;
}

void honest_stop(struct honest *honest)
{
	kill(honest->connector, SIGKILL);
	kill(honest->copier, SIGKILL);
	waitpid(honest->connector, NULL, 0);
	waitpid(honest->copier, NULL, 0);
}

void honest_measure(struct honest *honest)
{
	struct honest_shared *shared = honest->shared;

	honest->first_connect = atomic_load(&shared->connects.count);
	honest->first_copy = atomic_load(&shared->copies.count);
	atomic_store(&shared->refused, 0);
	atomic_store(&shared->wrong, 0);
	atomic_store(&shared->local, 0);
	memset(shared->explanation, 0, sizeof shared->explanation);
	atomic_store(&shared->explained, false);
}

struct summary honest_connects(const struct honest *honest)
{
	return samples_summary(&honest->shared->connects, honest->first_connect);
}

struct summary honest_copies(const struct honest *honest)
{
	return samples_summary(&honest->shared->copies, honest->first_copy);
}

struct honest_faults honest_faults(const struct honest *honest)
{
	struct honest_shared *shared = honest->shared;
	struct honest_faults faults = {.refused = atomic_load(&shared->refused),
				       .wrong = atomic_load(&shared->wrong),
				       .local = atomic_load(&shared->local)};

	if (faults.refused || faults.wrong || faults.local)
		snprintf(faults.first, sizeof faults.first, "%s", shared->explanation);
	return faults;
}

bool honest_pause(struct honest *honest, unsigned patience_ms)
{
	atomic_store(&honest->shared->pause, true);
	for (unsigned i = 0; i <= patience_ms; i++) {
		if (atomic_load(&honest->shared->paused))
			return true;
		pause_ms(1);
	}
	return false;
}

void honest_resume(struct honest *honest)
{
	atomic_store(&honest->shared->pause, false);
	while (atomic_load(&honest->shared->paused))
		pause_ms(1);
}
