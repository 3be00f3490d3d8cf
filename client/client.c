/* SPDX-License-Identifier: BSD-3-Clause */
/* Connecting, greeting, asking; and connecting again when the daemon has been restarted. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "client_internal.h"
#include "error.h"
#include "fork.h"
#include "proto/ring.h"
#include "region_internal.h"
#include "ring_internal.h"

#define DEFAULT_SOCKET "/run/vdmd/vdmd.sock"

/* A daemon that does not answer a control message for so long is as good as gone. */
#define ANSWER_SECONDS 10

/* Without a daemon to advise, as the daemon itself advises by default. */
#define DEFAULT_THRESHOLD ((size_t)64 << 10)

static const struct vdm_options default_options = {
	.size = sizeof(struct vdm_options),
	.entries = 256,
	.spin_us = 50,
};

const char *client_socket_path(const char *given)
{
	if (given)
		return given;

	const char *set = secure_getenv("VDM_SOCKET");

	return set && *set ? set : DEFAULT_SOCKET;
}

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
	if (options.reserved)
		return fail(-EINVAL, "options.reserved is not zero");
	if (options.socket)
		complete->socket = options.socket;
	if (options.entries)
		complete->entries = options.entries;
	if (options.spin_us)
		complete->spin_us = options.spin_us == VDM_NO_SPIN ? 0 : options.spin_us;
	if (options.offload_threshold)
		complete->offload_threshold = options.offload_threshold;
	if (options.first_sequence)
		complete->first_sequence = options.first_sequence;
	if (options.priority)
		complete->priority = options.priority;
	complete->features |= options.features;
	complete->flags |= options.flags;
	return 0;
}

static int open_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = ANSWER_SECONDS};

	if (strlen(path) >= sizeof address.sun_path)
		return fail(-ENAMETOOLONG, "socket path %s has %zu bytes: the longest has %zu", path,
			    strlen(path), sizeof address.sun_path - 1);
	strcpy(address.sun_path, path);

	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return fail(-errno, "cannot open a socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;

	int error = errno;

	close(fd);
	if (error == EACCES)
		return fail(-error, "no permission to connect to %s: is this user in the group that "
				    "owns it (usually vdm)?", path);
	return fail(-error, "cannot connect to vdmd at %s: %s", path, strerror(error));
}

int client_converse(int socket, const struct vdm_message_header *request, const int *fds,
		    unsigned sent_fds, enum vdm_message_type expected, unsigned fd_count,
		    struct vdm_packet *reply)
{
	int result = vdm_packet_send(socket, request, fds, sent_fds);

	/* who has hung up may have said why before */
	if (result == 0 || result == -ENOTCONN) {
		result = vdm_packet_receive(socket, reply, 1);
		if (result)
			vdm_packet_close(reply);
	}
	if (result == -EMFILE)
		return fail(-EMFILE, "this process has too many open files to take what vdmd sends");
	if (result == -ENOTCONN)
		return fail(-ENOTCONN, "vdmd has ended the connection");
	if (result == -EAGAIN)
		return fail(-ENOTCONN, "vdmd has not answered for %d s", ANSWER_SECONDS);
	if (result)
		return fail(-ENOTCONN, "cannot talk to vdmd: %s", strerror(-result));

	const struct vdm_message_refused *refused = &reply->message.refused;

	if (reply->message.header.type == VDM_MESSAGE_REFUSED && reply->size == sizeof *refused &&
	    refused->error < 0 && reply->fd_count == 0)
		return fail(refused->error, "%.*s", VDM_REFUSAL_TEXT, refused->text);
	if (reply->message.header.type != expected || reply->fd_count != fd_count) {
		vdm_packet_close(reply);
		return fail(-ENOTCONN, "vdmd's answer is not one that this library (%s) understands",
			    VDM_VERSION);
	}
	return 0;
}

int client_connect(const char *path, uint64_t features, struct vdm_message_welcome *welcome)
{
	struct vdm_message_hello hello = {
		.header = {VDM_MESSAGE_HELLO, sizeof hello},
		.magic = VDM_PROTOCOL_MAGIC,
		.version = VDM_PROTOCOL_VERSION,
		.features = features,
	};
	struct vdm_packet reply;
	int fd = open_socket(path);

	if (fd < 0)
		return fd;

	int result = client_converse(fd, &hello.header, NULL, 0, VDM_MESSAGE_WELCOME, 0, &reply);

	if (result) {
		close(fd);
		return result;
	}
	*welcome = reply.message.welcome;
	return fd;
}

int client_request(struct vdm_client *client, const struct vdm_message_header *request, const int *fds,
		   unsigned sent_fds, enum vdm_message_type expected, unsigned fd_count,
		   struct vdm_packet *reply)
{
	if (client->socket < 0)
		return fail(-ENOTCONN, "there is no connection to vdmd");

	int result = client_converse(client->socket, request, fds, sent_fds, expected, fd_count, reply);

	if (result == -ENOTCONN) {
		close(client->socket);
		client->socket = -1;
		client->error = -ENOTCONN;
	}
	return result;
}

/* With the lock held, or before anybody else knows the client. */
static int connect_now(struct vdm_client *client)
{
	if (client->options.flags & VDM_OPTION_LOCAL_ONLY) {
		client->error = -ENOTCONN;
		return 0;
	}

	int fd = client_connect(client->options.socket, client->options.features, &client->welcome);

	client->error = fd < 0 ? fd : 0;
	if (fd < 0)
		return fd;
	client->socket = fd;
	client->connections++;

	struct vdm_region *region;

	LIST_FOREACH(region, &client->regions, entry)
		region_register(region); /* if it is refused now, its operations take the local lane */
	return 0;
}

/* Whether the other end has hung up. With the lock held. */
static void notice_hangup(struct vdm_client *client)
{
	char byte;
	ssize_t got = client->socket < 0
			      ? -1
			      : recv(client->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	if (got == 0 || (got < 0 && client->socket >= 0 && errno != EAGAIN && errno != EINTR)) {
		close(client->socket);
		client->socket = -1;
		client->error = -ENOTCONN;
	}
}

void client_reconnect(struct vdm_client *client)
{
	pthread_mutex_lock(&client->lock);
	notice_hangup(client);
	if (client->socket < 0) {
		struct vdm_region *region;

		LIST_FOREACH(region, &client->regions, entry)
			region->id = 0;
		connect_now(client);
		/* release; partner: region_view_refresh() */
		atomic_fetch_add_explicit(&client->changes, 1, memory_order_release);
	}
	pthread_mutex_unlock(&client->lock);
}

int vdm_client_open(const struct vdm_options *given, struct vdm_client **client)
{
	struct vdm_options options;
	int result = options_complete(given, &default_options, &options);

	if (result)
		return result;

	uint32_t epoch = fork_epoch();
	struct vdm_client *c = epoch ? calloc(1, sizeof *c) : NULL;
	char *path = strdup(client_socket_path(options.socket));

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
	pthread_mutex_init(&c->lock, NULL);
	result = connect_now(c);
	/* Without a daemon the local lane serves; but not when there is one that says no. */
	bool absent = result == -ENOENT || result == -ECONNREFUSED || result == -ENOTCONN ||
		      result == -EACCES || result == -ENOTDIR || result == -EAGAIN;

	if (result && (!absent || (options.flags & VDM_OPTION_REQUIRE_DAEMON) || options.features)) {
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
	if (client->socket >= 0)
		close(client->socket);
	pthread_mutex_destroy(&client->lock);
	free((char *)client->options.socket);
	free(client);
}

struct vdm_client *vdm_client_default(void)
{
	static _Atomic(struct vdm_client *) shared;
	/* acquire; partner: the release below */
	struct vdm_client *known = atomic_load_explicit(&shared, memory_order_acquire);

	if (known && !fork_happened(known->epoch)) {
		client_reconnect(known);
		return known;
	}

	/* The parent's, if there is one, is left as it is: its rings and regions may still be referred to. */
	struct vdm_client *fresh = NULL;

	if (vdm_client_open(NULL, &fresh) < 0) {
		/* A daemon that refuses us: as good as none. */
		struct vdm_options local = {.size = sizeof local, .flags = VDM_OPTION_LOCAL_ONLY};

		if (vdm_client_open(&local, &fresh) < 0)
			return NULL;
	}
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

	pthread_mutex_lock(&client->lock);
	notice_hangup(client);
	struct vdm_client_info full = {
		.connected = client->socket >= 0,
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
	pthread_mutex_unlock(&client->lock);
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
