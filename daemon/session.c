/* SPDX-License-Identifier: BSD-3-Clause */
#include "session.h"

#include <ctype.h>
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/barrier.h"
#include "base/clock.h"
#include "config.h"
#include "file_region.h"
#include "refusal.h"
#include "region.h"
#include "ring.h"
#include "tally.h"

static int by_id(const void *a, const void *b)
{
	const struct region *left = a, *right = b;

	return (left->id > right->id) - (left->id < right->id);
}

static int by_file(const void *a, const void *b)
{
	const struct region *left = a, *right = b;

	if (left->device != right->device)
		return left->device > right->device ? 1 : -1;
	return (left->inode > right->inode) - (left->inode < right->inode);
}

static int open_lease(struct session *session)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	/* the client could send descriptors to our end, which would be closed with it */
	shutdown(ends[0], SHUT_RD);
	session->lease_fd = ends[0];
	session->clients_lease = ends[1];
	return 0;
}

static int fill(struct session *session)
{
	struct engine *engine = session->house->engine;
	int result = engine_memory_new(engine, (uint32_t)session->limits.regions_per_session,
				       &session->memory);

	if (result)
		return result;
	result = open_lease(session);
	if (result)
		engine_memory_delete(session->memory);
	return result;
}

int session_new(struct house *house, struct user *user, const struct log_peer *peer, int socket,
		struct session **out, char text[VDM_REFUSAL_TEXT])
{
	struct session *session = calloc(1, sizeof *session);
	int result;

	if (!session)
		return refuse(text, -ENOMEM, "vdmd is out of memory");
	session->book.sum = &user->book;
	session->house = house;
	session->user = user;
	session->peer = *peer;
	session->began_ns = monotonic_ns();
	session->limits = user->settings.limits;
	session->offload_threshold = house->config->offload_threshold;
	session->socket = socket;
	session->files_end = -1;
	LIST_INIT(&session->rings);
	result = charge_session(&session->charge, &session->book, text);
	if (result) {
		free(session);
		return result;
	}
	result = fill(session);
	if (result) {
		charge_release(&session->charge);
		free(session);
		return refuse(text, result, "vdmd is out of memory or descriptors");
	}
	user_ref(user);
	session->number = ++house->sessions_made;
	TAILQ_INSERT_TAIL(&house->sessions, session, entry);
	session->is_open = true;
	house->sessions_open++;
	*out = session;
	return 0;
}

void session_free(struct session *session)
{
	struct house *house = session->house;

	tally_add(&house->ended, &session->ended);
	log_message(LOG_DEBUG, &session->peer, "ended");
	charge_release(&session->charge);
	book_close(&session->book);
	user_put(session->user);
	TAILQ_REMOVE(&house->sessions, session, entry);
	free(session);
}

struct vdm_message_welcome session_welcome(const struct session *session, uint64_t features)
{
	return (struct vdm_message_welcome){
		.header = {VDM_MESSAGE_WELCOME, sizeof(struct vdm_message_welcome)},
		.features = features | (barrier_is_asymmetric() ? VDM_FEATURE_BARRIER : 0),
		.version = VDM_PROTOCOL_VERSION,
		.workers = engine_workers(session->house->engine),
		.max_rings = (uint32_t)session->limits.rings_per_session,
		.max_entries = (uint32_t)session->limits.entries_per_ring,
		.max_regions = (uint32_t)session->limits.regions_per_session,
		.max_region_bytes = session->limits.region_bytes,
		.offload_threshold = session->offload_threshold,
	};
}

static void close_if_open(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void session_is_handed_over(struct session *session)
{
	close_if_open(&session->socket);
	close_if_open(&session->clients_lease);
}

/* Without characters that could forge a line of the log. */
void session_name(struct session *session, const char command[VDM_COMMAND_TEXT])
{
	struct log_peer *peer = &session->peer;

	static_assert(sizeof peer->command == VDM_COMMAND_TEXT, "copied");
	house_lock(session->house);
	memcpy(peer->command, command, VDM_COMMAND_TEXT);
	peer->command[VDM_COMMAND_TEXT - 1] = '\0';
	for (char *c = peer->command; *c; c++)
		if (!isprint((unsigned char)*c))
			*c = '?';
	house_unlock(session->house);
	log_message(LOG_DEBUG, peer, "connected");
}

struct ring *session_find_ring(const struct session *session, uint32_t id)
{
	struct ring *ring;

	LIST_FOREACH(ring, &session->rings, entry)
		if (ring->id == id)
			return ring;
	return NULL;
}

struct region *session_find_region(const struct session *session, uint32_t id)
{
	const struct region like = {.id = id};
	void *found = tfind(&like, &session->regions, by_id);

	return found ? *(struct region **)found : NULL;
}

struct region *session_find_file(const struct session *session, const struct region *like)
{
	void *found = tfind(like, &session->files, by_file);

	return found ? *(struct region **)found : NULL;
}

int session_enter_region(struct session *session, struct region *region)
{
	if (!tsearch(region, &session->regions, by_id))
		return -ENOMEM;
	/* a file may have several regions */
	if (region->files || tsearch(region, &session->files, by_file))
		return 0;
	tdelete(region, &session->regions, by_id);
	return -ENOMEM;
}

void session_remove_ring(struct session *session, struct ring *ring)
{
	struct house *house = session->house;
	struct engine_counters before = {0}, after = {0};

	/* a report must not look at a queue that is going */
	house_lock(house);
	if (ring->queue)
		engine_queue_counters(ring->queue, &before);
	tally_add_engine(&session->ended, &before);
	LIST_REMOVE(ring, entry);
	house_unlock(house);
	if (ring->queue)
		engine_queue_remove(ring->queue, &after);
	notes_forget(session->notes, &ring->bell_note);
	notes_forget(session->notes, &ring->signal_note);
	session->receive_bells(ring, true);
	ring_unmake(ring);
	house_lock(house);
	tally_add_difference(&session->ended, &before, &after);
	charge_release(&ring->charge);
	house_unlock(house);
	free(ring);
}

void session_remove_region(struct session *session, struct region *region)
{
	engine_region_remove(session->memory, region->id);
	tdelete(region, &session->regions, by_id);
	if (region->files) {
		file_region_remove(region);
	} else {
		tdelete(region, &session->files, by_file);
		region_unmap(region, session->populating);
	}
	house_lock(session->house);
	charge_release(&region->charge);
	house_unlock(session->house);
	free(region);
}

void session_empty(struct session *session)
{
	struct ring *ring;

	if (session->lease_fd < 0)
		return;
	session_is_handed_over(session);
	close_if_open(&session->files_end);
	while ((ring = LIST_FIRST(&session->rings)))
		session_remove_ring(session, ring);
	while (session->regions) /* the root of the tree begins with its key, tsearch(3) */
		session_remove_region(session, *(struct region **)session->regions);
	house_lock(session->house);
	session->is_open = false;
	session->house->sessions_open--;
	house_unlock(session->house);
	engine_memory_delete(session->memory);
	/* not earlier: to the client that proves that nothing moves its bytes any more */
	close(session->lease_fd);
	session->lease_fd = -1;
}

void session_log_violation(const struct session *session, const char *reason)
{
	log_limited(LOG_WARNING, &session->peer, "session ended for breaking the protocol: %s",
		    reason);
	house_lock(session->house);
	session->house->violated++;
	house_unlock(session->house);
}

void session_note_over_limit(void *context)
{
	struct session *session = ((struct ring *)context)->session;

	notes_leave(session->notes, &session->over_limit_note);
}

void session_note_violation(void *context, const char *reason)
{
	struct session *session = ((struct ring *)context)->session;

	/* release; partner: the clerk's on_violation(), acquire */
	atomic_store_explicit(&session->violation, reason, memory_order_release);
	notes_leave(session->notes, &session->violated_note);
}

void session_note_bells(void *context)
{
	struct ring *ring = context;

	notes_leave(ring->session->notes, &ring->bell_note);
}

void session_note_signal(void *context)
{
	struct ring *ring = context;

	notes_leave(ring->session->notes, &ring->signal_note);
}
