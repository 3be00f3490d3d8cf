/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One handler for each message that a client may send. The message has been copied to private
 * memory, and its size and the number of its descriptors have been checked. A handler checks
 * reserved bits before it acts. A malformed message ends the session. A request that cannot be
 * granted is refused with a sentence. Both leave nothing behind.
 */
#include "request.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/barrier.h"
#include "engine/engine.h"
#include "log.h"
#include "proto/ring.h"
#include "reaper.h"
#include "refusal.h"
#include "region.h"
#include "ring.h"
#include "session.h"
#include "status.h"

/* The optional parts of the protocol that this daemon has. */
static uint64_t features(void)
{
	return VDM_FEATURE_TAKE_BACK | (barrier_is_asymmetric() ? VDM_FEATURE_BARRIER : 0);
}

static int reply_refused(struct session *session, uint32_t request, int error, const char *format,
			 ...) __attribute__((format(printf, 4, 5)));
static int reply_refused(struct session *session, uint32_t request, int error, const char *format,
			 ...)
{
	char text[VDM_REFUSAL_TEXT];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	log_limited(error == -EDQUOT ? LOG_WARNING : LOG_DEBUG, &session->peer, "refused: %s",
		    text);
	return refusal_send(session->socket, request, error, text);
}

/*
 * Copy the name that the client gives itself, without characters that could forge a line of the
 * log.
 */
static void take_command(struct log_peer *peer, const char command[VDM_COMMAND_TEXT])
{
	static_assert(sizeof peer->command == VDM_COMMAND_TEXT, "copied");
	memcpy(peer->command, command, VDM_COMMAND_TEXT);
	peer->command[VDM_COMMAND_TEXT - 1] = '\0';
	for (char *c = peer->command; *c; c++)
		if (!isprint((unsigned char)*c))
			*c = '?';
}

/* Whether a library of another version greets. Its greeting may have another size. */
static bool greets_in_another_version(const struct vdm_packet *packet)
{
	const struct vdm_message_hello *hello = &packet->message.hello;

	return hello->header.type == VDM_MESSAGE_HELLO &&
	       packet->size >= offsetof(struct vdm_message_hello, reserved) &&
	       hello->magic == VDM_PROTOCOL_MAGIC && hello->version != VDM_PROTOCOL_VERSION;
}

static int refuse_version(struct session *session, uint32_t version)
{
	return reply_refused(session, VDM_MESSAGE_HELLO, -EPROTONOSUPPORT,
			     "vdmd %s speaks version %d of the protocol and the client's library "
			     "version %u: install libvdm and vdmd of one release, and restart the "
			     "one that is older",
			     VDM_VERSION, VDM_PROTOCOL_VERSION, version);
}

static int handle_hello(struct session *session, struct vdm_packet *packet, const char **reason)
{
	const struct vdm_message_hello *hello = &packet->message.hello;
	const struct session_host *host = session->host;

	if (session->state != SESSION_GREETING) {
		*reason = "it greeted twice";
		return -EPROTO;
	}
	if (hello->magic != VDM_PROTOCOL_MAGIC || hello->reserved) {
		*reason = "its greeting is malformed";
		return -EPROTO;
	}
	if (hello->features & ~features())
		return reply_refused(
			session, VDM_MESSAGE_HELLO, -EOPNOTSUPP,
			"vdmd %s does not have the features 0x%llx that the client needs",
			VDM_VERSION, (unsigned long long)(hello->features & ~features()));

	struct vdm_message_welcome welcome = {
		.header = {VDM_MESSAGE_WELCOME, sizeof welcome},
		.features = features(),
		.version = VDM_PROTOCOL_VERSION,
		.workers = engine_workers(host->engine),
		.max_rings = (uint32_t)session->limits.rings_per_session,
		.max_entries = (uint32_t)session->limits.entries_per_ring,
		.max_regions = (uint32_t)session->limits.regions_per_session,
		.max_region_bytes = session->limits.region_bytes,
		.offload_threshold = host->config->offload_threshold,
	};

	take_command(&session->peer, hello->command);
	log_message(LOG_DEBUG, &session->peer, "connected");
	session_open(session);
	return vdm_packet_send(session->socket, &welcome.header, NULL, 0);
}

static void close_client_fds(const int fds[VDM_RING_FD_COUNT])
{
	for (unsigned i = 0; i < VDM_RING_FD_COUNT; i++)
		close(fds[i]);
}

static int check_ring(const struct session *session, const struct vdm_message_ring_create *request,
		      int fd, char text[VDM_REFUSAL_TEXT])
{
	const uint64_t rings = session->book.used[RESOURCE_RINGS];

	if (!vdm_ring_entries_valid(request->entries))
		return refuse(text, -EINVAL,
			      "a ring cannot have %u entries: it has to be a power of two "
			      "from %d to %d",
			      request->entries, VDM_RING_MIN_ENTRIES, VDM_RING_MAX_ENTRIES);
	if (request->entries > session->limits.entries_per_ring)
		return refuse(text, -EDQUOT,
			      "a ring may have %llu entries, not %u: raise entries_per_ring in "
			      "vdmd's configuration",
			      (unsigned long long)session->limits.entries_per_ring,
			      request->entries);
	if (rings >= session->limits.rings_per_session)
		return refuse(text, -EDQUOT,
			      "the session has as many rings as it may, %llu: raise "
			      "rings_per_session in vdmd's configuration",
			      (unsigned long long)rings);
	return ring_check(fd, request->entries, session->host->holes_fd, text);
}

static int serve_ring(struct session *session, struct ring *ring,
		      const struct vdm_message_ring_create *request)
{
	static_assert(VDM_RING_PRIORITY_LOW == (int)ENGINE_PRIORITY_LOW &&
			      VDM_RING_PRIORITY_HIGH == (int)ENGINE_PRIORITY_HIGH,
		      "both enums have the same values");
	return engine_queue_add(session->host->engine,
				&(struct engine_queue_options){
					.account = session->user->account,
					.memory = session->memory,
					.submission = ring->submission,
					.completion = ring->completion,
					.entries = ring->entries,
					.first_sequence = request->first_sequence,
					.priority = (enum engine_priority)request->priority,
					.doorbell_fd = ring->doorbell_fd,
					.signal_fd = ring->signal_fd,
					.violated = session_note_violation,
					.over_limit = session_note_over_limit,
					.context = session,
				},
				&ring->queue);
}

/*
 * Make a zeroed ring that is served from now on, with the descriptors for the client. On failure
 * only the charge is left.
 */
static int make_ring(struct session *session, struct ring *ring,
		     const struct vdm_message_ring_create *request, int fd,
		     int client_fds[VDM_RING_FD_COUNT], char text[VDM_REFUSAL_TEXT])
{
	int result = check_ring(session, request, fd, text);

	if (!result)
		result = charge_ring(&ring->charge, &session->book, request->entries, text);
	if (result)
		return result;
	result = ring_make(ring, fd, request->entries, request->first_sequence, client_fds);
	if (result)
		return refuse(text, result, "vdmd cannot make a ring: %s", strerror(-result));
	result = serve_ring(session, ring, request);
	if (result) {
		ring_unmake(ring);
		close_client_fds(client_fds);
		return refuse(text, result, "vdmd cannot serve another ring: %s",
			      strerror(-result));
	}
	ring->id = ++session->rings_made;
	LIST_INSERT_HEAD(&session->rings, ring, entry);
	return 0;
}

static int handle_ring_create(struct session *session, struct vdm_packet *packet,
			      const char **reason)
{
	const struct vdm_message_ring_create *request = &packet->message.ring_create;
	int client_fds[VDM_RING_FD_COUNT];
	char text[VDM_REFUSAL_TEXT];

	if (request->flags || !vdm_ring_priority_valid(request->priority)) {
		*reason = "a ring's request has reserved bits, or a priority that does not exist";
		return -EPROTO;
	}

	struct ring *ring = calloc(1, sizeof *ring);

	if (!ring)
		return reply_refused(session, VDM_MESSAGE_RING_CREATE, -ENOMEM,
				     "vdmd is out of memory");

	int result = make_ring(session, ring, request, packet->fds[0], client_fds, text);

	if (result) {
		charge_release(&ring->charge);
		free(ring);
		return reply_refused(session, VDM_MESSAGE_RING_CREATE, result, "%s", text);
	}

	struct vdm_message_ring_created created = {
		.header = {VDM_MESSAGE_RING_CREATED, sizeof created},
		.ring = ring->id,
		.entries = ring->entries,
		.first_sequence = request->first_sequence,
	};

	close(vdm_packet_take(packet, 0)); /* a memfd that is mapped: closing it takes no time */
	result = vdm_packet_send(session->socket, &created.header, client_fds, VDM_RING_FD_COUNT);
	close_client_fds(client_fds);
	return result;
}

static int handle_ring_destroy(struct session *session, struct vdm_packet *packet,
			       const char **reason)
{
	const struct vdm_message_ring_destroy *request = &packet->message.ring_destroy;
	struct ring *ring;

	if (request->reserved) {
		*reason = "reserved bits of a ring's request are set";
		return -EPROTO;
	}
	LIST_FOREACH(ring, &session->rings, entry)
		if (ring->id == request->ring)
			return session_remove_for_client(session, ring, NULL);
	return reply_refused(session, VDM_MESSAGE_RING_DESTROY, -ENOENT, "there is no ring %u",
			     request->ring);
}

static int check_region(const struct session *session, const struct vdm_message_region_add *request,
			int fd, struct region *region, char text[VDM_REFUSAL_TEXT])
{
	const uint64_t regions = session->book.used[RESOURCE_REGIONS];
	const struct region *other;

	if (regions >= session->limits.regions_per_session)
		return refuse(text, -E2BIG,
			      "the session has as many regions as it may, %llu: raise "
			      "regions_per_session in vdmd's configuration",
			      (unsigned long long)regions);
	if (request->size > session->limits.region_bytes)
		return refuse(text, -EDQUOT,
			      "a region may have %llu bytes, not %llu: raise region_bytes in "
			      "vdmd's configuration",
			      (unsigned long long)session->limits.region_bytes,
			      (unsigned long long)request->size);

	int result = region_check(fd, request->size, request->flags, region, text);

	if (result)
		return result;
	LIST_FOREACH(other, &session->regions, entry)
		if (other->device == region->device && other->inode == region->inode)
			return refuse(text, -EEXIST, "this memfd is region %u already", other->id);
	return 0;
}

/*
 * Make a zeroed region, which operations can name from now on. On failure only the charge is left.
 */
static int make_region(struct session *session, struct region *region,
		       const struct vdm_message_region_add *request, int fd,
		       char text[VDM_REFUSAL_TEXT])
{
	const struct session_host *host = session->host;
	int result = check_region(session, request, fd, region, text);

	if (!result)
		result = charge_region(&region->charge, &session->book, request->size, text);
	if (!result)
		result = region_map(region, host->prefault, host->holes_fd, fd, request->size,
				    request->flags, text);
	if (result)
		return result;
	result = engine_region_add(session->memory, region->base, region->size,
				   !(request->flags & VDM_REGION_READ_ONLY), &region->id);
	if (result) {
		region_dispose(region, host->prefault, host->reaper, session->user);
		return refuse(text, result, "vdmd has no room for another region");
	}
	LIST_INSERT_HEAD(&session->regions, region, entry);
	return 0;
}

static int handle_region_add(struct session *session, struct vdm_packet *packet,
			     const char **reason)
{
	const struct vdm_message_region_add *request = &packet->message.region_add;
	char text[VDM_REFUSAL_TEXT];

	if (request->reserved || (request->flags & ~VDM_REGION_VALID_FLAGS)) {
		*reason = "reserved bits of a region's request are set";
		return -EPROTO;
	}

	struct region *region = calloc(1, sizeof *region);

	if (!region)
		return reply_refused(session, VDM_MESSAGE_REGION_ADD, -ENOMEM,
				     "vdmd is out of memory");

	int result = make_region(session, region, request, packet->fds[0], text);

	if (result) {
		charge_release(&region->charge);
		free(region);
		return reply_refused(session, VDM_MESSAGE_REGION_ADD, result, "%s", text);
	}

	close(vdm_packet_take(packet, 0)); /* a memfd that is mapped: closing it takes no time */

	struct vdm_message_region_added added = {
		.header = {VDM_MESSAGE_REGION_ADDED, sizeof added},
		.size = region->size,
		.region = region->id,
	};

	return vdm_packet_send(session->socket, &added.header, NULL, 0);
}

static int handle_region_remove(struct session *session, struct vdm_packet *packet,
				const char **reason)
{
	const struct vdm_message_region_remove *request = &packet->message.region_remove;
	struct region *region;

	if (request->reserved) {
		*reason = "reserved bits of a region's request are set";
		return -EPROTO;
	}
	LIST_FOREACH(region, &session->regions, entry)
		if (region->id == request->region)
			return session_remove_for_client(session, NULL, region);
	return reply_refused(session, VDM_MESSAGE_REGION_REMOVE, -ENOENT, "there is no region %u",
			     request->region);
}

static int handle_status(struct session *session, struct vdm_packet *packet, const char **reason)
{
	struct vdm_message_status_reply reply = {
		.header = {VDM_MESSAGE_STATUS_REPLY, sizeof reply}};
	void *report;

	(void)packet;
	(void)reason;
	session_drop_report(session);

	int fd = status_report(session->host, session->peer.uid, &report, &reply.size);

	if (fd < 0)
		return reply_refused(session, VDM_MESSAGE_STATUS, fd,
				     "vdmd cannot write a report: %s", strerror(-fd));
	session->report = report;
	session->report_size = reply.size;

	int result = vdm_packet_send(session->socket, &reply.header, &fd, 1);

	close(fd);
	return result;
}

int request_handle(struct session *session, struct vdm_packet *packet, const char **reason)
{
	static const struct {
		int (*handle)(struct session *, struct vdm_packet *, const char **);
		uint32_t size;
		unsigned fds;
		bool answers_with_fds;
	} handlers[VDM_MESSAGE_TYPE_COUNT] = {
		[VDM_MESSAGE_HELLO] = {handle_hello, sizeof(struct vdm_message_hello), 0},
		[VDM_MESSAGE_RING_CREATE] = {handle_ring_create,
					     sizeof(struct vdm_message_ring_create), 1, true},
		[VDM_MESSAGE_RING_DESTROY] = {handle_ring_destroy,
					      sizeof(struct vdm_message_ring_destroy), 0},
		[VDM_MESSAGE_REGION_ADD] = {handle_region_add,
					    sizeof(struct vdm_message_region_add), 1},
		[VDM_MESSAGE_REGION_REMOVE] = {handle_region_remove,
					       sizeof(struct vdm_message_region_remove), 0},
		[VDM_MESSAGE_STATUS] = {handle_status, sizeof(struct vdm_message_status), 0, true},
	};
	const uint32_t type = packet->message.header.type;

	if (type >= VDM_MESSAGE_TYPE_COUNT || !handlers[type].handle) {
		*reason = "a message is of a type that clients do not send";
		return -EPROTO;
	}
	if (session->state == SESSION_GREETING && greets_in_another_version(packet))
		return refuse_version(session, packet->message.hello.version);
	if (packet->size != handlers[type].size) {
		*reason = "a message does not have the size of its type";
		return -EPROTO;
	}
	if (session->state == SESSION_GREETING && type != VDM_MESSAGE_HELLO) {
		*reason = "a request came before the greeting";
		return -EPROTO;
	}
	if (packet->truncated)
		return reply_refused(session, type, -EMFILE,
				     "vdmd is out of descriptors (LimitNOFILE)");
	/* a report is one more job for the reaper, too */
	if ((packet->fd_count > 0 || handlers[type].answers_with_fds) &&
	    reaper_overloaded(session->user)) {
		*reason = "closing the descriptors that its user has passed takes too long";
		return -EPROTO;
	}
	if (handlers[type].answers_with_fds && session_has_unread_answers(session)) {
		*reason = "it asked for descriptors without having read the answer before";
		return -EPROTO;
	}
	if (packet->fd_count != handlers[type].fds) {
		*reason = "a message does not have the number of descriptors of its type";
		return -EPROTO;
	}
	return handlers[type].handle(session, packet, reason);
}
