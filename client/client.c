/* SPDX-License-Identifier: BSD-3-Clause */
/* Options, life and figures of a client. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cancellation.h"
#include "client_internal.h"
#include "base/barrier.h"
#include "error.h"
#include "fork.h"
#include "proto/ring.h"
#include "region_internal.h"
#include "ring_internal.h"

/* Without a daemon to advise, as the daemon itself advises by default. */
#define DEFAULT_THRESHOLD ((size_t)64 << 10)

static const struct vdm_options default_options = {
	.size = sizeof(struct vdm_options),
	.entries = 256,
	.spin_us = 50,
	.answer_timeout_ms = ANSWER_TIMEOUT_MS,
};

static bool has_all(uint32_t flags, uint32_t bits)
{
	return (flags & bits) == bits;
}

int options_complete(const struct vdm_options *given, const struct vdm_options *defaults,
		     struct vdm_options *complete)
{
	struct vdm_options options = {0};

	*complete = *defaults;
	if (!given)
		return 0;
	if (given->size < offsetof(struct vdm_options, flags))
		return fail(-EINVAL, "options.size is %zu: set it to sizeof(struct vdm_options), %zu",
			    given->size, sizeof options);
	if (given->size > sizeof options) {
		const char *extra = (const char *)given + sizeof options;

		for (size_t i = 0; i < given->size - sizeof options; i++)
			if (extra[i])
				return fail(-E2BIG, "options has a field set that this library (%s) "
						    "does not know: install a newer one", VDM_VERSION);
	}
	memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
	if (options.flags & ~VDM_OPTION_VALID_FLAGS)
		return fail(-EINVAL, "options.flags 0x%x has unknown bits", options.flags);
	if (has_all(options.flags, VDM_OPTION_REQUIRE_DAEMON | VDM_OPTION_LOCAL_ONLY))
		return fail(-EINVAL, "options.flags says both require a daemon and look for none");
	if (has_all(options.flags, VDM_OPTION_NOTIFY_NONE | VDM_OPTION_NOTIFY_POLLER))
		return fail(-EINVAL, "options.flags names two notifiers: one at most can be used");
	if (options.entries && !vdm_ring_entries_valid(options.entries))
		return fail(-EINVAL, "options.entries is %u: it has to be a power of two from %d to %d",
			    options.entries, VDM_RING_MIN_ENTRIES, VDM_RING_MAX_ENTRIES);
	if (!vdm_ring_priority_valid(options.priority))
		return fail(-EINVAL, "options.priority is %d: it has to be VDM_PRIORITY_LOW, _NORMAL or _HIGH",
			    options.priority);
	if (options.socket)
		complete->socket = options.socket;
	if (options.entries)
		complete->entries = options.entries;
	if (options.spin_us)
		complete->spin_us = options.spin_us == VDM_NO_SPIN ? 0 : options.spin_us;
	if (options.offload_threshold)
		complete->offload_threshold = options.offload_threshold;
	if (options.answer_timeout_ms)
		complete->answer_timeout_ms = options.answer_timeout_ms;
	if (options.first_sequence)
		complete->first_sequence = options.first_sequence;
	if (options.priority)
		complete->priority = options.priority;
	complete->features |= options.features;
	complete->flags |= options.flags;
	return 0;
}

/* A client that has not been connected yet. */
static int client_new(const struct vdm_options *given, struct vdm_client **client)
{
	struct vdm_options options;
	int result = options_complete(given, &default_options, &options);

	if (result)
		return result;

	uint32_t epoch = fork_epoch();
	struct vdm_client *c = epoch ? calloc(1, sizeof *c) : NULL;
	char *path = strdup(connection_path(options.socket));

	if (!c || !path) {
		free(c);
		free(path);
		return fail(-ENOMEM, "out of memory");
	}
	options.socket = path;
	c->epoch = epoch;
	c->options = options;
	c->socket = -1;
	LIST_INIT(&c->regions);
	LIST_INIT(&c->rings);
	pthread_mutex_init(&c->talk, NULL);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->ring_left, NULL);
	c->reaches_threads = barrier_register_own();
	*client = c;
	return 0;
}

static int connect_first(struct vdm_client *client)
{
	pthread_mutex_lock(&client->talk);
	int result = connection_open(client);

	pthread_mutex_unlock(&client->talk);
	return result;
}

int vdm_client_open(const struct vdm_options *options, struct vdm_client **client)
{
	WITHOUT_CANCELLATION;
	struct vdm_client *c;
	int result = client_new(options, &c);

	if (result)
		return result;
	result = connect_first(c);
	/* Without a daemon the local lane serves; but not when there is one that says no. */
	bool absent = result == -ENOENT || result == -ECONNREFUSED || result == -ENOTCONN ||
		      result == -EACCES || result == -ENOTDIR || result == -EAGAIN || result == -ETIMEDOUT;

	if (result &&
	    (!absent || (c->options.flags & VDM_OPTION_REQUIRE_DAEMON) || c->options.features)) {
		vdm_client_close(c);
		return result;
	}
	*client = c;
	return 0;
}

void vdm_client_close(struct vdm_client *client)
{
	if (!client)
		return;
	WITHOUT_CANCELLATION;
	if (client->socket >= 0)
		close(client->socket);
	pthread_mutex_destroy(&client->talk);
	pthread_mutex_destroy(&client->lock);
	pthread_cond_destroy(&client->ring_left);
	free((char *)client->options.socket);
	free(client);
}

struct vdm_client *vdm_client_default(void)
{
	static _Atomic(struct vdm_client *) shared;
	WITHOUT_CANCELLATION;
	/* acquire; partner: the release below */
	struct vdm_client *known = atomic_load_explicit(&shared, memory_order_acquire);

	if (known && !fork_happened(known->epoch)) {
		connection_renew(known);
		return known;
	}

	/* The parent's, if there is one, is left as it is: its rings and regions may still be referred to. */
	struct vdm_client *fresh;

	if (client_new(NULL, &fresh) < 0)
		return NULL;
	connect_first(fresh); /* if it is in vain now, for whatever reason, it is tried again at the next call */
	if (atomic_compare_exchange_strong_explicit(&shared, &known, fresh, memory_order_release,
						    memory_order_acquire))
		return fresh;
	vdm_client_close(fresh);
	return known;
}

/* Fill in as much of the caller's structure as he knows of. */
static void copy_out(void *to, size_t to_size, const void *from, size_t from_size)
{
	memset(to, 0, to_size);
	memcpy(to, from, to_size < from_size ? to_size : from_size);
	*(size_t *)to = to_size;
}

int vdm_client_info(struct vdm_client *client, struct vdm_client_info *info)
{
	if (info->size < sizeof info->size)
		return fail(-EINVAL, "info.size is %zu: set it to sizeof(struct vdm_client_info)",
			    info->size);
	if (fork_happened(client->epoch))
		return fork_error();

	WITHOUT_CANCELLATION;
	pthread_mutex_lock(&client->talk);
	connection_look(client);
	struct vdm_client_info full = {
		.connected = client->connection_state == CONNECTION_OPEN,
		.error = client->error,
		.offload_threshold = client->options.offload_threshold,
	};

	if (full.connected) {
		full.features = client->welcome.features & VDM_FEATURE_FILE_REGIONS; /* others are the library's */
		full.workers = client->welcome.workers;
		full.max_entries = client->welcome.max_entries;
		full.max_rings = client->welcome.max_rings;
		full.max_regions = client->welcome.max_regions;
		full.max_region_bytes = client->welcome.max_region_bytes;
	}
	if (!full.offload_threshold)
		full.offload_threshold =
			full.connected ? client->welcome.offload_threshold : DEFAULT_THRESHOLD;
	pthread_mutex_unlock(&client->talk);
	copy_out(info, info->size, &full, sizeof full);
	return 0;
}

void counters_add(struct ring_counters *sum, const struct ring_counters *more)
{
	/* relaxed: figures, in no order with anything; each ring's are written by its thread alone */
#define ADD(field)                                                                                 \
	atomic_fetch_add_explicit(&sum->field,                                                     \
				  atomic_load_explicit(&more->field, memory_order_relaxed),        \
				  memory_order_relaxed)
	ADD(offloaded);
	ADD(offloaded_bytes);
	ADD(local_small);
	ADD(local_outside);
	ADD(local_disconnected);
	ADD(taken_back);
	ADD(local_bytes);
	ADD(failed);
	ADD(doorbells);
	ADD(sleeps);
#undef ADD
}

int vdm_client_counters(struct vdm_client *client, struct vdm_client_counters *counters)
{
	struct ring_counters sum = {0};
	struct vdm_ring *ring;

	if (counters->size < sizeof counters->size)
		return fail(-EINVAL, "counters.size is %zu: set it to sizeof(struct vdm_client_counters)",
			    counters->size);
	if (fork_happened(client->epoch))
		return fork_error();
	pthread_mutex_lock(&client->lock);
	counters_add(&sum, &client->ended);
	LIST_FOREACH(ring, &client->rings, entry)
		counters_add(&sum, ring_counters(ring));
	pthread_mutex_unlock(&client->lock);

	struct vdm_client_counters full = {
		.offloaded = sum.offloaded,
		.offloaded_bytes = sum.offloaded_bytes,
		.local_small = sum.local_small,
		.local_outside = sum.local_outside,
		.local_disconnected = sum.local_disconnected,
		.local_bytes = sum.local_bytes,
		.failed = sum.failed,
		.doorbells = sum.doorbells,
		.sleeps = sum.sleeps,
		.taken_back = sum.taken_back,
	};

	copy_out(counters, counters->size, &full, sizeof full);
	return 0;
}
