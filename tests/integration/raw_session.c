/* SPDX-License-Identifier: BSD-3-Clause */
#include "raw_session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "tests/start_ring.h"

int raw_connect(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("VDM_SOCKET");
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0, "%s", strerror(errno));
	CHECK(path && strlen(path) < sizeof address.sun_path, "$VDM_SOCKET has to be a path");
	strcpy(address.sun_path, path);
	CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "%s: %s", path,
	      strerror(errno));
	return fd;
}

int raw_request(struct raw_session *session, const struct vdm_message_header *request,
		const int *fds, unsigned fd_count, struct vdm_packet *reply)
{
	int result = vdm_packet_send(session->socket, request, fds, fd_count);

	if (result == -EPIPE || result == -ECONNRESET)
		return -ENOTCONN;
	CHECK(result == 0, "sending: %s", strerror(-result));
	result = vdm_packet_receive(session->socket, reply, 1);
	CHECK(result == 0 || result == -ENOTCONN, "receiving: %s", strerror(-result));
	return result;
}

void raw_greet(struct raw_session *session)
{
	const struct vdm_message_hello hello = {
		.header = {.type = VDM_MESSAGE_HELLO, .size = sizeof hello},
		.magic = VDM_PROTOCOL_MAGIC,
		.version = VDM_PROTOCOL_VERSION,
		.command = "raw_session"};
	struct vdm_packet reply;

	CHECK(raw_request(session, &hello.header, NULL, 0, &reply) == 0, "the greeting");
	CHECK(reply.message.header.type == VDM_MESSAGE_WELCOME, "type %u",
	      reply.message.header.type);
	session->welcome = reply.message.welcome;
}

void raw_open(struct raw_session *session)
{
	session->socket = raw_connect();
	raw_greet(session);
}

void raw_close(struct raw_session *session)
{
	close(session->socket);
}

/* 0 if the reply is of the type wanted, or what a refusal says. */
static int verdict(const struct vdm_packet *reply, uint32_t wanted)
{
	if (reply->message.header.type == VDM_MESSAGE_REFUSED) {
		const struct vdm_message_refused *refused = &reply->message.refused;

		CHECK(refused->error < 0, "refused with %d", refused->error);
		CHECK(memchr(refused->text, '\0', sizeof refused->text) && refused->text[0],
		      "a refusal without a text");
		return refused->error;
	}
	CHECK(reply->message.header.type == wanted, "a reply of type %u where %u was due",
	      reply->message.header.type, wanted);
	return 0;
}

int raw_ring_make(struct raw_session *session, uint32_t entries, uint32_t first_sequence,
		  struct raw_ring *ring)
{
	const struct vdm_message_ring_create request = {
		.header = {.type = VDM_MESSAGE_RING_CREATE, .size = sizeof request},
		.entries = entries,
		.first_sequence = first_sequence};
	struct vdm_packet reply;
	int result = raw_request(session, &request.header, NULL, 0, &reply);

	if (!result)
		result = verdict(&reply, VDM_MESSAGE_RING_CREATED);
	if (result)
		return result;
	CHECK(reply.fd_count == VDM_RING_FD_COUNT, "%u descriptors", reply.fd_count);
	*ring = (struct raw_ring){.id = reply.message.ring_created.ring,
				  .entries = entries,
				  .submitted = first_sequence,
				  .completed = first_sequence};
	for (unsigned i = 0; i < VDM_RING_FD_COUNT; i++)
		ring->fds[i] = vdm_packet_take(&reply, i);
	return 0;
}

void raw_ring_map(struct raw_ring *ring)
{
	ring->submission =
		map_populated(ring->fds[VDM_RING_FD_SUBMISSION], vdm_submission_size(ring->entries),
			      PROT_READ | PROT_WRITE);
	ring->completion = map_populated(ring->fds[VDM_RING_FD_COMPLETION],
					 vdm_completion_size(ring->entries), PROT_READ);
	CHECK(ring->submission != MAP_FAILED && ring->completion != MAP_FAILED, "%s",
	      strerror(errno));
}

void raw_ring_start(struct raw_session *session, struct raw_ring *ring)
{
	const struct vdm_message_ring_start message = ring_start(ring->id);

	vdm_submission_prepare(ring->submission, ring->entries, ring->submitted);
	CHECK(seal_submission(ring->fds[VDM_RING_FD_SUBMISSION]) == 0, "%s", strerror(errno));
	CHECK(vdm_packet_send(session->socket, &message.header, NULL, 0) == 0, "%s",
	      strerror(errno));
}

int raw_ring_create(struct raw_session *session, uint32_t entries, uint32_t first_sequence,
		    struct raw_ring *ring)
{
	int result = raw_ring_make(session, entries, first_sequence, ring);

	if (result)
		return result;
	raw_ring_map(ring);
	raw_ring_start(session, ring);
	return 0;
}

void raw_ring_forget(struct raw_ring *ring)
{
	munmap(ring->submission, vdm_submission_size(ring->entries));
	munmap(ring->completion, vdm_completion_size(ring->entries));
	for (unsigned i = 0; i < VDM_RING_FD_COUNT; i++)
		close(ring->fds[i]);
}

char *raw_region_add(struct raw_session *session, size_t bytes, uint32_t flags, uint32_t *region)
{
	const struct vdm_message_region_add request = {
		.header = {.type = VDM_MESSAGE_REGION_ADD, .size = sizeof request},
		.size = bytes,
		.flags = flags};
	struct vdm_packet reply;
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK(fd >= 0 && fallocate(fd, 0, 0, (off_t)bytes) == 0, "%s", strerror(errno));
	CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0, "%s", strerror(errno));
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(memory != MAP_FAILED, "%s", strerror(errno));
	CHECK(raw_request(session, &request.header, &fd, 1, &reply) == 0, "adding a region");
	CHECK(verdict(&reply, VDM_MESSAGE_REGION_ADDED) == 0, "%s", reply.message.refused.text);
	*region = reply.message.region_added.region;
	close(fd);
	return memory;
}

struct vdm_descriptor *raw_entry(struct raw_ring *ring)
{
	struct vdm_descriptor *slot =
		&vdm_descriptors(ring->submission)[ring->submitted & (ring->entries - 1)];

	/* its sequence word is the daemon's business already */
	memset(slot, 0, offsetof(struct vdm_descriptor, sequence));
	return slot;
}

void raw_publish_as(struct raw_ring *ring, uint32_t sequence)
{
	struct vdm_descriptor *slot =
		&vdm_descriptors(ring->submission)[ring->submitted & (ring->entries - 1)];
	const struct vdm_daemon_line *line = ring->completion;

	/* release; partner: the engine's descriptor_state(), acquire */
	atomic_store_explicit(&slot->sequence, sequence, memory_order_release);
	ring->submitted++;
	/* I6: publish, full barrier, read the announcement; partner: the engine's
	 * consumer_want_doorbell() */
	atomic_thread_fence(memory_order_seq_cst);
	const uint32_t wanted = atomic_load_explicit(&line->doorbell_wanted, memory_order_seq_cst);

	/* once for each value: further ones could fill the doorbell */
	if (wanted && wanted != ring->rung)
		send(ring->fds[VDM_RING_FD_DOORBELL], &(uint64_t){1}, sizeof(uint64_t),
		     MSG_NOSIGNAL | MSG_DONTWAIT);
	ring->rung = wanted;
}

void raw_publish(struct raw_ring *ring)
{
	raw_publish_as(ring, ring->submitted + 1);
}

static bool ended(const struct raw_session *session)
{
	struct pollfd fd = {.fd = session->socket};

	return poll(&fd, 1, 0) == 1 && (fd.revents & POLLHUP);
}

bool raw_await(struct raw_session *session, struct raw_ring *ring,
	       struct vdm_completion *completion)
{
	const struct vdm_completion *slot =
		&vdm_completions(ring->completion)[ring->completed & (ring->entries - 1)];

	/* acquire; partner: the engine's consumer_complete(), release */
	while (atomic_load_explicit(&slot->sequence, memory_order_acquire) != ring->completed + 1) {
		if (ended(session))
			return false;
		sched_yield();
	}
	memcpy(completion, slot, sizeof *completion);
	ring->completed++;
	return true;
}

void raw_await_end(struct raw_session *session)
{
	struct pollfd fd = {.fd = session->socket};

	do
		poll(&fd, 1, -1);
	while (!(fd.revents & POLLHUP));
}
