/* SPDX-License-Identifier: BSD-3-Clause */
#include "puppet_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition,         \
				strerror(errno));                                                  \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static int new_file(const char *name, size_t size, void **memory)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	MUST(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	*memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(*memory != MAP_FAILED);
	return fd;
}

/* Both ends of a doorbell; returns the client's. */
static int make_doorbell(struct puppet_daemon *puppet)
{
	int pair[2];

	if (!puppet->has_socket_doorbell) {
		puppet->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		return dup(puppet->doorbell_fd);
	}
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	puppet->doorbell_fd = pair[0];
	return pair[1];
}

static void make_ring(struct puppet_daemon *puppet, struct vdm_packet *request)
{
	const struct vdm_message_ring_create *create = &request->message.ring_create;
	struct vdm_message_ring_created created = {
		.header = {VDM_MESSAGE_RING_CREATED, sizeof created},
		.ring = 1,
		.entries = create->entries,
		.first_sequence = create->first_sequence};
	int fds[VDM_RING_FD_COUNT], pair[2];
	void *submission;

	puppet->entries = create->entries;
	puppet->first = puppet->completed = create->first_sequence;
	fds[VDM_RING_FD_SUBMISSION] =
		new_file("submission", vdm_submission_size(create->entries), &submission);
	puppet->submission = submission;
	fds[VDM_RING_FD_COMPLETION] =
		new_file("completion", vdm_completion_size(create->entries), &puppet->completion);
	fds[VDM_RING_FD_DOORBELL] = make_doorbell(puppet);
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	puppet->signal_fd = pair[0];
	fds[VDM_RING_FD_EVENT] = pair[1];
	vdm_packet_send(puppet->socket, &created.header, fds, VDM_RING_FD_COUNT);
	for (unsigned i = 0; i < VDM_RING_FD_COUNT; i++)
		if (i >= 2)
			close(fds[i]);
		else
			puppet->files[i] = fds[i];
}

static void drop_ring(struct puppet_daemon *puppet)
{
	if (!puppet->completion)
		return;
	munmap((void *)(uintptr_t)puppet->submission, vdm_submission_size(puppet->entries));
	munmap(puppet->completion, vdm_completion_size(puppet->entries));
	puppet->completion = NULL;
	close(puppet->files[0]);
	close(puppet->files[1]);
	close(puppet->doorbell_fd);
	close(puppet->signal_fd);
}

static void welcome_client(struct puppet_daemon *puppet, const struct vdm_message_welcome *welcome)
{
	int lease[2];

	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, lease) == 0);
	puppet->lease = lease[0];
	vdm_packet_send(puppet->socket, &welcome->header, &lease[1], VDM_WELCOME_FD_COUNT);
	close(lease[1]);
}

static void answer(struct puppet_daemon *puppet, struct vdm_packet *request)
{
	struct vdm_message_welcome welcome = {.header = {VDM_MESSAGE_WELCOME, sizeof welcome},
					      .features = VDM_FEATURE_TAKE_BACK,
					      .version = VDM_PROTOCOL_VERSION,
					      .workers = 1,
					      .max_rings = 1,
					      .max_entries = VDM_RING_MAX_ENTRIES,
					      .max_regions = 16,
					      .max_region_bytes = UINT64_MAX,
					      .offload_threshold = 1};
	struct vdm_message_region_added added = {.header = {VDM_MESSAGE_REGION_ADDED, sizeof added},
						 .size = request->message.region_add.size,
						 .region = puppet->regions + 1};
	struct vdm_message_done done = {.header = {VDM_MESSAGE_DONE, sizeof done}};
	struct vdm_message_refused refused = {.header = {VDM_MESSAGE_REFUSED, sizeof refused},
					      .error =
						      puppet->refusal[request->message.header.type],
					      .text = PUPPET_REFUSAL};

	if (refused.error) {
		vdm_packet_send(puppet->socket, &refused.header, NULL, 0);
		return;
	}
	switch (request->message.header.type) {
	case VDM_MESSAGE_HELLO:
		if (puppet->breaks_off > 0) {
			puppet->breaks_off--;
			puppet->hangs_up = true;
			break;
		}
		welcome_client(puppet, &welcome);
		break;
	case VDM_MESSAGE_FILE_ADD:
		added.size = request->message.file_add.size;
		/* fall through */
	case VDM_MESSAGE_REGION_ADD:
		puppet->regions++;
		vdm_packet_send(puppet->socket, &added.header, NULL, 0);
		break;
	case VDM_MESSAGE_RING_CREATE:
		make_ring(puppet, request);
		break;
	case VDM_MESSAGE_RING_START:
		if (!puppet->delays_start)
			vdm_completion_prepare(puppet->completion, puppet->entries, puppet->first);
		break;
	case VDM_MESSAGE_REGION_REMOVE:
		puppet->removed = request->message.region_remove.region;
		vdm_packet_send(puppet->socket, &done.header, NULL, 0);
		break;
	case VDM_MESSAGE_RING_DESTROY:
		drop_ring(puppet);
		/* fall through */
	default:
		vdm_packet_send(puppet->socket, &done.header, NULL, 0);
	}
}

static bool may_answer(const struct puppet_daemon *puppet, uint32_t type)
{
	return !puppet->silent || puppet->stopping || (type == VDM_MESSAGE_HELLO && puppet->greets);
}

static void end_session(struct puppet_daemon *puppet)
{
	drop_ring(puppet);
	if (puppet->lease >= 0)
		close(puppet->lease);
	puppet->lease = -1;
	if (puppet->socket >= 0)
		close(puppet->socket);
	puppet->socket = -1;
	puppet->hangs_up = false;
	pthread_cond_broadcast(&puppet->changed);
}

static bool serves(const struct puppet_daemon *puppet, int socket)
{
	return puppet->socket == socket && !puppet->hangs_up;
}

/* Holding the lock, except while it waits. */
static void serve(struct puppet_daemon *puppet)
{
	const int socket = puppet->socket;

	while (serves(puppet, socket)) {
		struct vdm_packet request;

		pthread_mutex_unlock(&puppet->lock);
		int result = vdm_packet_receive(socket, &request, 1);

		pthread_mutex_lock(&puppet->lock);
		if (result) {
			vdm_packet_close(&request);
			break;
		}
		puppet->received[request.message.header.type]++;
		pthread_cond_broadcast(&puppet->changed);
		while (!may_answer(puppet, request.message.header.type) && serves(puppet, socket))
			pthread_cond_wait(&puppet->changed, &puppet->lock);
		if (serves(puppet, socket))
			answer(puppet, &request);
		vdm_packet_close(&request);
	}
	if (puppet->socket == socket)
		end_session(puppet);
}

static void *puppet_main(void *argument)
{
	struct puppet_daemon *puppet = argument;
	int socket;

	while ((socket = accept(puppet->listener, NULL, NULL)) >= 0) {
		pthread_mutex_lock(&puppet->lock);
		puppet->socket = socket;
		puppet->connections++;
		serve(puppet);
		pthread_mutex_unlock(&puppet->lock);
	}
	return NULL;
}

void puppet_start(struct puppet_daemon *puppet)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memset(puppet, 0, sizeof *puppet);
	puppet->socket = puppet->lease = puppet->dropped = -1;
	pthread_mutex_init(&puppet->lock, NULL);
	pthread_cond_init(&puppet->changed, NULL);
	strcpy(puppet->directory, "/tmp/vdm-puppet.XXXXXX");
	MUST(mkdtemp(puppet->directory));
	snprintf(puppet->path, sizeof puppet->path, "%s/socket", puppet->directory);
	strcpy(address.sun_path, puppet->path);
	puppet->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	MUST(bind(puppet->listener, (struct sockaddr *)&address, sizeof address) == 0);
	MUST(listen(puppet->listener, 8) == 0);
	MUST(pthread_create(&puppet->thread, NULL, puppet_main, puppet) == 0);
}

void puppet_stop(struct puppet_daemon *puppet)
{
	pthread_mutex_lock(&puppet->lock);
	puppet->stopping = true;
	if (puppet->socket >= 0)
		shutdown(puppet->socket, SHUT_RDWR);
	pthread_cond_broadcast(&puppet->changed);
	pthread_mutex_unlock(&puppet->lock);
	shutdown(puppet->listener, SHUT_RDWR);
	pthread_join(puppet->thread, NULL);
	if (puppet->dropped >= 0)
		close(puppet->dropped);
	close(puppet->listener);
	unlink(puppet->path);
	rmdir(puppet->directory);
}

void puppet_silence(struct puppet_daemon *puppet, bool greets)
{
	pthread_mutex_lock(&puppet->lock);
	puppet->silent = true;
	puppet->greets = greets;
	pthread_mutex_unlock(&puppet->lock);
}

void puppet_speak(struct puppet_daemon *puppet)
{
	pthread_mutex_lock(&puppet->lock);
	puppet->silent = false;
	pthread_cond_broadcast(&puppet->changed);
	pthread_mutex_unlock(&puppet->lock);
}

void puppet_hang_up(struct puppet_daemon *puppet)
{
	pthread_mutex_lock(&puppet->lock);
	if (puppet->socket < 0)
		end_session(puppet);
	/* The thread closes it: if its number were used again, the thread might receive from the
	 * new one. */
	else if (!puppet->hangs_up) {
		shutdown(puppet->socket, SHUT_RDWR); /* wakes the thread, which may be receiving */
		puppet->hangs_up = true;
		pthread_cond_broadcast(&puppet->changed);
	}
	while (puppet->hangs_up)
		pthread_cond_wait(&puppet->changed, &puppet->lock);
	pthread_mutex_unlock(&puppet->lock);
}

void puppet_drop_socket(struct puppet_daemon *puppet)
{
	pthread_mutex_lock(&puppet->lock);
	shutdown(puppet->socket, SHUT_RDWR); /* wakes the thread, which may be receiving */
	puppet->dropped = puppet->socket;
	puppet->socket = -1;
	pthread_cond_broadcast(&puppet->changed);
	pthread_mutex_unlock(&puppet->lock);
}

void puppet_refuse(struct puppet_daemon *puppet, enum vdm_message_type type, int error)
{
	pthread_mutex_lock(&puppet->lock);
	puppet->refusal[type] = error;
	pthread_mutex_unlock(&puppet->lock);
}

unsigned puppet_received(struct puppet_daemon *puppet, enum vdm_message_type type)
{
	pthread_mutex_lock(&puppet->lock);
	unsigned received = puppet->received[type];

	pthread_mutex_unlock(&puppet->lock);
	return received;
}

void puppet_await(struct puppet_daemon *puppet, enum vdm_message_type type, unsigned count)
{
	pthread_mutex_lock(&puppet->lock);
	while (puppet->received[type] < count)
		pthread_cond_wait(&puppet->changed, &puppet->lock);
	pthread_mutex_unlock(&puppet->lock);
}

void puppet_start_ring(struct puppet_daemon *puppet)
{
	vdm_completion_prepare(puppet->completion, puppet->entries, puppet->first);
}

void puppet_claim(struct puppet_daemon *puppet, uint32_t position)
{
	struct vdm_daemon_line *line = puppet->completion;

	atomic_store(&line->claimed, position);
}

const struct vdm_descriptor *puppet_descriptor(const struct puppet_daemon *puppet,
					       uint32_t position)
{
	const char *descriptors = (const char *)puppet->submission + VDM_RING_ENTRIES_OFFSET;

	return (const struct vdm_descriptor *)descriptors + (position & (puppet->entries - 1));
}

void puppet_complete(struct puppet_daemon *puppet, uint32_t position, int32_t result,
		     uint32_t flags)
{
	const struct vdm_descriptor *of = puppet_descriptor(puppet, position);
	uint32_t place = puppet->completed++;
	struct vdm_completion *slot =
		&vdm_completions(puppet->completion)[place & (puppet->entries - 1)];

	slot->user_data = of->user_data;
	slot->value = result ? 0 : of->length;
	slot->result = result;
	slot->flags = flags;
	slot->operation = position;
	atomic_store(&slot->sequence, place + 1);

	static const uint64_t one = 1;

	send(puppet->signal_fd, &one, sizeof one, MSG_DONTWAIT | MSG_NOSIGNAL);
}

uint32_t puppet_published(const struct puppet_daemon *puppet)
{
	uint32_t count = 0, position = puppet->first;

	while (count < puppet->entries &&
	       atomic_load(&puppet_descriptor(puppet, position)->sequence) == position + 1) {
		count++;
		position++;
	}
	return count;
}

void puppet_client_open(struct puppet_client *client, struct puppet_daemon *puppet,
			unsigned answer_timeout_ms, size_t bytes)
{
	const struct vdm_options options = {.size = sizeof options,
					    .socket = puppet->path,
					    .flags = VDM_OPTION_REQUIRE_DAEMON,
					    .offload_threshold = 1,
					    .answer_timeout_ms = answer_timeout_ms,
					    .first_sequence = puppet->first,
					    .entries = 8};

	MUST(vdm_client_open(&options, &client->client) == 0);
	MUST(vdm_ring_open(client->client, NULL, &client->ring) == 0);
	puppet_await(puppet, VDM_MESSAGE_RING_START, 1);
	MUST(vdm_region_alloc(client->client, bytes, &client->region) == 0);
	client->memory = vdm_region_address(client->region);
}

void puppet_client_close(struct puppet_client *client)
{
	vdm_ring_close(client->ring);
	vdm_region_release(client->region);
	vdm_client_close(client->client);
}

void puppet_client_submit_copy(const struct puppet_client *client, size_t size)
{
	vdm_prep_memcpy(vdm_ring_get_sqe(client->ring), client->memory + size, client->memory, size,
			0);
	MUST(vdm_ring_submit(client->ring) == 1);
}

void await_sleep(pid_t thread, const _Atomic bool *ended)
{
	char path[64], text[256];

	snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
	while (!*ended) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t length = read(fd, text, sizeof text - 1);

		close(fd);
		if (length <= 0)
			return;
		text[length] = '\0';
		if (strstr(text, ") S "))
			return;
		usleep(1000);
	}
}
