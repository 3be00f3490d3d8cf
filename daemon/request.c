/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One handler for each request that a client may send. The message has been copied to private
 * memory, and its size has been checked. A handler checks reserved bits before it acts. A malformed
 * message ends the session. A request that cannot be granted is refused with a sentence. Both leave
 * nothing behind.
 */
#include "request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "file_region.h"
#include "filing.h"
#include "log.h"
#include "proto/porter.h"
#include "proto/ring.h"
#include "refusal.h"
#include "region.h"
#include "ring.h"
#include "session.h"
#include "status.h"

/* When a signal is tried again. */
#define SIGNAL_AGAIN_NS 1000000

static int answer_refused(const struct session *session, const struct request *request,
			  struct answer *answer, int error, const char *text)
{
	struct vdm_message_refused *refused = &answer->message->refused;

	*refused = (struct vdm_message_refused){
		.header = {VDM_MESSAGE_REFUSED, sizeof *refused},
		.request = request->message->header.type,
		.error = error,
	};
	refuse(refused->text, 0, "%s", text);
	log_limited(error == -EDQUOT ? LOG_WARNING : LOG_DEBUG, &session->peer, "refused: %s",
		    text);
	return 0;
}

static int answer_done(struct answer *answer)
{
	answer->message->done = (struct vdm_message_done){
		.header = {VDM_MESSAGE_DONE, sizeof answer->message->done}};
	return 0;
}

static int check_ring(const struct session *session, const struct vdm_message_ring_create *request,
		      char text[VDM_REFUSAL_TEXT])
{
	const uint64_t rings = session->book.used[RESOURCE_RINGS];

	if (!vdm_ring_entries_valid(request->entries))
		return refuse(text, -EINVAL,
			      "a ring cannot have %u entries: it has to be a power of two "
			      "from %d to %d",
			      request->entries, VDM_RING_MIN_ENTRIES, VDM_RING_MAX_ENTRIES);
	if (!vdm_ring_first_sequence_valid(request->first_sequence))
		return refuse(text, -EINVAL,
			      "a ring cannot begin at the last position, %u: its memory is zero "
			      "at first, and would look as if the first operation were complete",
			      request->first_sequence);
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
	return 0;
}

static void on_bells(void *context)
{
	struct ring *ring = context;

	ring->session->receive_bells(ring, false);
}

/* The workers would wait for too long while what waits for the signal is woken. */
static void on_signal(void *context)
{
	struct ring *ring = context;
	const uint64_t begin = thread_cpu_ns();
	const int result = engine_queue_signal(ring->queue);

	ring->slow_wakes = thread_cpu_ns() - begin > MOST_WAKE_NS ? ring->slow_wakes + 1 : 0;
	if (ring->slow_wakes == MOST_SLOW_WAKES)
		session_note_violation(
			ring, "so much waits for a ring's signals that waking it takes too long");
	if (result == 0)
		return;
	/*
	 * the kernel has no memory for it now: after a moment, and after what else there is to do
	 */
	nanosleep(&(struct timespec){.tv_nsec = SIGNAL_AGAIN_NS}, NULL);
	session_note_signal(ring);
}

/* Make a zeroed ring, with the descriptors for the client. On failure only the charge is left. */
static int make_ring(struct session *session, struct ring *ring,
		     const struct vdm_message_ring_create *request,
		     int client_fds[VDM_RING_FD_COUNT], char text[VDM_REFUSAL_TEXT])
{
	int result = check_ring(session, request, text);

	if (result)
		return result;
	house_lock(session->house);
	result = charge_ring(&ring->charge, &session->book, request->entries, text);
	house_unlock(session->house);
	if (result)
		return result;
	ring->session = session;
	ring->bell_note = (struct note){.take = on_bells, .context = ring};
	ring->signal_note = (struct note){.take = on_signal, .context = ring};
	ring->entries = request->entries;
	ring->first_sequence = request->first_sequence;
	ring->priority = request->priority;
	result = ring_make(ring, client_fds);
	if (result)
		return refuse(text, result, "vdmd cannot make a ring: %s", strerror(-result));
	ring->id = ++session->rings_made;
	house_lock(session->house);
	LIST_INSERT_HEAD(&session->rings, ring, entry);
	house_unlock(session->house);
	return 0;
}

static void drop_ring(struct session *session, struct ring *ring)
{
	house_lock(session->house);
	charge_release(&ring->charge);
	house_unlock(session->house);
	free(ring);
}

static int handle_ring_create(struct session *session, const struct request *request,
			      struct answer *answer, const char **reason)
{
	const struct vdm_message_ring_create *create = &request->message->ring_create;
	char text[VDM_REFUSAL_TEXT];

	if (create->flags || !vdm_ring_priority_valid(create->priority)) {
		*reason = "a ring's request has reserved bits, or a priority that does not exist";
		return -EPROTO;
	}

	struct ring *ring = calloc(1, sizeof *ring);

	if (!ring)
		return answer_refused(session, request, answer, -ENOMEM, "vdmd is out of memory");

	int result = make_ring(session, ring, create, answer->fds, text);

	if (result) {
		drop_ring(session, ring);
		return answer_refused(session, request, answer, result, text);
	}
	answer->fd_count = VDM_RING_FD_COUNT;
	answer->message->ring_created = (struct vdm_message_ring_created){
		.header = {VDM_MESSAGE_RING_CREATED, sizeof answer->message->ring_created},
		.ring = ring->id,
		.entries = ring->entries,
		.first_sequence = ring->first_sequence,
	};
	return 0;
}

static int serve_ring(struct session *session, struct ring *ring)
{
	struct engine_queue *queue;
	int result;

	static_assert(VDM_RING_PRIORITY_LOW == (int)ENGINE_PRIORITY_LOW &&
			      VDM_RING_PRIORITY_HIGH == (int)ENGINE_PRIORITY_HIGH,
		      "both enums have the same values");
	result = engine_queue_add(session->house->engine,
				  &(struct engine_queue_options){
					  .account = session->account,
					  .memory = session->memory,
					  .submission = ring->submission,
					  .completion = ring->completion,
					  .entries = ring->entries,
					  .first_sequence = ring->first_sequence,
					  .priority = (enum engine_priority)ring->priority,
					  .doorbell_fd = ring->doorbell_fd,
					  .signal_fd = ring->signal_fd,
					  .violated = session_note_violation,
					  .over_limit = session_note_over_limit,
					  .bell_unread = session_note_bells,
					  .signal = session_note_signal,
					  .context = ring,
				  },
				  &queue);
	if (result)
		return result;
	house_lock(session->house);
	ring->queue = queue;
	charge_ring_started(&ring->charge);
	house_unlock(session->house);
	return 0;
}

/* The client does not wait for an answer, so the session ends if this fails. */
static int handle_ring_start(struct session *session, const struct request *request,
			     struct answer *answer, const char **reason)
{
	const struct vdm_message_ring_start *start = &request->message->ring_start;
	struct ring *ring = session_find_ring(session, start->ring);
	const char *broken = start->reserved ? "reserved bits of a ring's request are set"
			     : !ring         ? "it started a ring that does not exist"
			     : ring->queue   ? "it started a ring twice"
					     : ring_check(ring);

	(void)answer;
	if (broken) {
		*reason = broken;
		return -EPROTO;
	}
	ring_prepare(ring);

	int result = serve_ring(session, ring);

	if (result) {
		log_limited(LOG_WARNING, &session->peer,
			    "session ended: vdmd cannot serve another ring: %s", strerror(-result));
		return result;
	}
	ring_close_files(ring);
	return 0;
}

static int handle_ring_destroy(struct session *session, const struct request *request,
			       struct answer *answer, const char **reason)
{
	const struct vdm_message_ring_destroy *destroy = &request->message->ring_destroy;
	char text[VDM_REFUSAL_TEXT];

	if (destroy->reserved) {
		*reason = "reserved bits of a ring's request are set";
		return -EPROTO;
	}

	struct ring *ring = session_find_ring(session, destroy->ring);

	if (!ring) {
		refuse(text, 0, "there is no ring %u", destroy->ring);
		return answer_refused(session, request, answer, -ENOENT, text);
	}
	session_remove_ring(session, ring);
	return answer_done(answer);
}

static int check_count(const struct session *session, char text[VDM_REFUSAL_TEXT])
{
	const uint64_t regions = session->book.used[RESOURCE_REGIONS];

	if (regions >= session->limits.regions_per_session)
		return refuse(text, -E2BIG,
			      "the session has as many regions as it may, %llu: raise "
			      "regions_per_session in vdmd's configuration",
			      (unsigned long long)regions);
	return 0;
}

static int check_region(const struct session *session, const struct vdm_message_region_add *request,
			char text[VDM_REFUSAL_TEXT])
{
	int result = check_count(session, text);

	if (result)
		return result;
	if (request->size > session->limits.region_bytes)
		return refuse(text, -EDQUOT,
			      "a region may have %llu bytes, not %llu: raise region_bytes in "
			      "vdmd's configuration",
			      (unsigned long long)session->limits.region_bytes,
			      (unsigned long long)request->size);
	return 0;
}

/* Have operations able to name it from now on. */
static int enter_region(struct session *session, struct region *region, bool writable,
			char text[VDM_REFUSAL_TEXT])
{
	int result = engine_region_add(session->memory, region->base, region->size, writable,
				       &region->id);

	if (result)
		return refuse(text, result, "vdmd has no room for another region");
	result = session_enter_region(session, region);
	if (result) {
		engine_region_remove(session->memory, region->id);
		return refuse(text, result, "vdmd is out of memory");
	}
	return 0;
}

/*
 * Make a zeroed region of an open file. The descriptor is closed, now or when the pages are mapped.
 */
static int map_region(struct session *session, struct region *region,
		      const struct vdm_message_region_add *add, int fd, char text[VDM_REFUSAL_TEXT])
{
	int result = region_check(fd, add->size, add->flags, region, text);
	const struct region *other = result ? NULL : session_find_file(session, region);

	if (other)
		result = refuse(text, -EEXIST, "this memfd is region %u already", other->id);
	if (!result)
		result = region_map(region, session->populating, session->house->holes_fd, fd,
				    add->size, add->flags, text);
	if (result) {
		close(fd);
		return result;
	}
	result = enter_region(session, region, !(add->flags & VDM_REGION_READ_ONLY), text);
	if (result)
		region_unmap(region, session->populating);
	return result;
}

/* On failure only the charge is left. */
static int make_region(struct session *session, struct region *region,
		       const struct request *request, char text[VDM_REFUSAL_TEXT])
{
	const struct vdm_message_region_add *add = &request->message->region_add;
	int result = check_region(session, add, text), fd;

	if (result)
		return result;
	fd = region_open(request->passed, add->size, add->flags, text);
	if (fd < 0)
		return fd;
	house_lock(session->house);
	result = charge_region(&region->charge, &session->book, add->size, text);
	house_unlock(session->house);
	if (result) {
		close(fd);
		return result;
	}
	return map_region(session, region, add, fd, text);
}

/* On failure only the charge is left. */
static int make_file_region(struct session *session, struct region *region,
			    const struct request *request, char text[VDM_REFUSAL_TEXT])
{
	const struct vdm_message_file_add *add = &request->message->file_add;
	int result = check_count(session, text), fd;

	if (result)
		return result;
	house_lock(session->house);
	result = charge_file(&region->charge, &session->book, text);
	house_unlock(session->house);
	if (result)
		return result;
	fd = file_region_open(request->passed, add, text);
	if (fd < 0)
		return fd;
	result = file_region_add(region, session->house->files, fd, add, text);
	if (result) {
		close(fd);
		return result;
	}
	result = enter_region(session, region, !(add->flags & VDM_REGION_READ_ONLY), text);
	if (result)
		file_region_remove(region);
	return result;
}

/* Add what `make` makes of the request. */
static int add_region(struct session *session, const struct request *request, struct answer *answer,
		      int (*make)(struct session *, struct region *, const struct request *,
				  char text[VDM_REFUSAL_TEXT]))
{
	struct region *region = calloc(1, sizeof *region);
	char text[VDM_REFUSAL_TEXT];

	if (!region)
		return answer_refused(session, request, answer, -ENOMEM, "vdmd is out of memory");

	int result = make(session, region, request, text);

	if (result) {
		house_lock(session->house);
		charge_release(&region->charge);
		house_unlock(session->house);
		free(region);
		return answer_refused(session, request, answer, result, text);
	}
	answer->message->region_added = (struct vdm_message_region_added){
		.header = {VDM_MESSAGE_REGION_ADDED, sizeof answer->message->region_added},
		.size = region->size,
		.region = region->id,
	};
	return 0;
}

static int handle_region_add(struct session *session, const struct request *request,
			     struct answer *answer, const char **reason)
{
	const struct vdm_message_region_add *add = &request->message->region_add;

	if (add->reserved || (add->flags & ~VDM_REGION_READ_ONLY)) {
		*reason = "reserved bits of a region's request are set";
		return -EPROTO;
	}
	return add_region(session, request, answer, make_region);
}

static int handle_file_add(struct session *session, const struct request *request,
			   struct answer *answer, const char **reason)
{
	const struct vdm_message_file_add *add = &request->message->file_add;

	if (add->reserved || (add->flags & ~(VDM_REGION_READ_ONLY | VDM_REGION_EXTEND))) {
		*reason = "reserved bits of a region's request are set";
		return -EPROTO;
	}
	return add_region(session, request, answer, make_file_region);
}

static int handle_region_remove(struct session *session, const struct request *request,
				struct answer *answer, const char **reason)
{
	const struct vdm_message_region_remove *remove = &request->message->region_remove;
	char text[VDM_REFUSAL_TEXT];

	if (remove->reserved) {
		*reason = "reserved bits of a region's request are set";
		return -EPROTO;
	}

	struct region *region = session_find_region(session, remove->region);

	if (!region) {
		refuse(text, 0, "there is no region %u", remove->region);
		return answer_refused(session, request, answer, -ENOENT, text);
	}
	session_remove_region(session, region);
	return answer_done(answer);
}

static int handle_files(struct session *session, const struct request *request,
			struct answer *answer, const char **reason)
{
	char text[VDM_REFUSAL_TEXT];
	int result = filing_open(session->filing, session, &answer->fds[VDM_FILES_FD_SOCKET], text);

	(void)reason;
	if (result)
		return answer_refused(session, request, answer, result, text);
	answer->fd_count = VDM_FILES_FD_COUNT;
	answer->message->files_opened = (struct vdm_message_files_opened){
		.header = {VDM_MESSAGE_FILES_OPENED, sizeof answer->message->files_opened}};
	return 0;
}

static int handle_status(struct session *session, const struct request *request,
			 struct answer *answer, const char **reason)
{
	(void)reason;
	status_report(session->house, session->user, session->peer.uid,
		      request->message->status.after, &answer->message->status_reply);
	return 0;
}

int request_handle(struct session *session, const struct request *request, struct answer *answer,
		   const char **reason)
{
	static int (*const handlers[VDM_MESSAGE_TYPE_COUNT])(struct session *,
							     const struct request *,
							     struct answer *, const char **) = {
		[VDM_MESSAGE_RING_CREATE] = handle_ring_create,
		[VDM_MESSAGE_RING_START] = handle_ring_start,
		[VDM_MESSAGE_RING_DESTROY] = handle_ring_destroy,
		[VDM_MESSAGE_REGION_ADD] = handle_region_add,
		[VDM_MESSAGE_REGION_REMOVE] = handle_region_remove,
		[VDM_MESSAGE_FILES] = handle_files,
		[VDM_MESSAGE_FILE_ADD] = handle_file_add,
		[VDM_MESSAGE_STATUS] = handle_status,
	};
	const uint32_t type = request->message->header.type;
	const struct vdm_request *form = vdm_request(type);

	if (!form || !handlers[type] || !(form->to & request->to) || request->size < form->size) {
		*reason = "its porter has passed on what is no request";
		return -EPROTO;
	}
	answer->fd_count = 0;
	return handlers[type](session, request, answer, reason);
}
