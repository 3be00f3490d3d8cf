/* SPDX-License-Identifier: BSD-3-Clause */
#include "live_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/clerk.h"
#include "daemon/filer.h"
#include "daemon/porter.h"
#include "daemon/spawner.h"
#include "engine/engine.h"
#include "proto/ring.h"
#include "tests/start_ring.h"

struct server *server;
int client = -1, lease = -1;

static const spawner_mains mains = {[SPAWNER_PORTER] = porter_main, [SPAWNER_FILER] = filer_main};
static struct spawner spawner;
static pid_t spawner_pid;
static unsigned fds_before;

pid_t porter_pid(void)
{
	return first_child_of(spawner_pid);
}

static bool is_filer(pid_t process)
{
	char path[64], name[32] = "";

	snprintf(path, sizeof path, "/proc/%d/comm", (int)process);

	FILE *file = fopen(path, "re");

	if (file && !fgets(name, sizeof name, file))
		*name = '\0';
	if (file)
		fclose(file);
	return strcmp(name, "vdmd-filer\n") == 0;
}

pid_t filer_pid(void)
{
	char path[64];
	int child = 0, found = 0;

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)spawner_pid,
		 (int)spawner_pid);

	FILE *file = fopen(path, "re");

	while (file && !found && fscanf(file, "%d", &child) == 1)
		found = is_filer(child) ? child : 0;
	if (file)
		fclose(file);
	return found;
}

/* In the event loop's stead. */
static pthread_t supervisor;
static int supervisor_end[2];

static void *supervise(void *engine)
{
	struct pollfd events[] = {{.fd = engine_supervisor_fd(engine), .events = POLLIN},
				  {.fd = supervisor_end[0], .events = POLLIN}};

	while (poll(events, 2, -1) > 0 && !events[1].revents)
		engine_supervise(engine);
	return NULL;
}

static void start_supervisor(void)
{
	assert_int_equal(pipe2(supervisor_end, O_CLOEXEC), 0);
	assert_int_equal(pthread_create(&supervisor, NULL, supervise, server->house.engine), 0);
}

static void stop_supervisor(void)
{
	close(supervisor_end[1]);
	pthread_join(supervisor, NULL);
	close(supervisor_end[0]);
}

uint64_t held(enum resource resource)
{
	house_lock(&server->house);
	const uint64_t used = server->house.users.book.used[resource];

	house_unlock(&server->house);
	return used;
}

static uint64_t read_counter(const uint64_t *counter)
{
	house_lock(&server->house);
	const uint64_t value = *counter;

	house_unlock(&server->house);
	return value;
}

uint64_t violated(void)
{
	return read_counter(&server->house.violated);
}

uint64_t refused(void)
{
	return read_counter(&server->house.refused);
}

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char logged[1024];

/* Violations are what is tested here: messages of the daemon are kept, and not written. */
static ssize_t keep_log(void *cookie, const char *text, size_t size)
{
	(void)cookie;
	if (size < 6 || memcmp(text, "vdmd: ", 6) != 0)
		return write(STDERR_FILENO, text, size);
	pthread_mutex_lock(&log_lock);
	snprintf(logged, sizeof logged, "%.*s", (int)size, text);
	pthread_mutex_unlock(&log_lock);
	return (ssize_t)size;
}

static void redirect_log(void)
{
	stderr = fopencookie(NULL, "w", (cookie_io_functions_t){.write = keep_log});
	assert_non_null(stderr);
	setvbuf(stderr, NULL, _IOLBF, BUFSIZ);
	log_set_level(LOG_WARNING);
}

/* The daemon tells a few messages of each user. */
static void forgive(void)
{
	struct user *user;

	house_lock(&server->house);
	LIST_FOREACH(user, &server->house.users.list, entry)
		user->log_limit.logged = 0;
	house_unlock(&server->house);
}

const char *last_logged(void)
{
	static char text[sizeof logged];

	pthread_mutex_lock(&log_lock);
	memcpy(text, logged, sizeof text);
	pthread_mutex_unlock(&log_lock);
	return text;
}

int start_spawner(void **state)
{
	(void)state;
	assert_int_equal(spawner_start(&spawner, &mains), 0);
	spawner_pid = first_child_of(getpid());
	redirect_log();
	return 0;
}

int stop_spawner(void **state)
{
	int status;

	(void)state;
	spawner_stop(&spawner);
	assert_int_equal(waitpid(spawner_pid, &status, 0), spawner_pid);
	assert_int_equal(status, 0);
	return 0;
}

static void start_server(void)
{
	struct spawner copy = {.births = fcntl(spawner.births, F_DUPFD_CLOEXEC, 0),
			       .refusals = fcntl(spawner.refusals, F_DUPFD_CLOEXEC, 0)};
	struct config config;

	config_defaults(&config);
	config.workers = 1;
	config.limits.rings_per_session = 2;
	config.limits.entries_per_ring = 64;
	config.limits.regions_per_session = 2;
	config.limits.region_bytes = 1 << 20;
	config.limits.mapped_bytes_per_user = 128 << 10;
	config.limits.sessions_per_user = 2;
	config.limits.rings_per_user = 3;
	config.limits.regions_per_user = 3;
	config.limits.handshakes_per_second = 100000;
	assert_int_equal(server_new(&config, &copy, &server), 0);
}

int set_up(void **state)
{
	(void)state;
	fds_before = count_fds_of(getpid());
	start_server();
	start_supervisor();
	connect_client();
	return 0;
}

void free_server(void)
{
	stop_supervisor();
	server_free(server);
	server = NULL;
}

static bool clerks_are_gone(void)
{
	house_lock(&server->house);
	bool gone = LIST_EMPTY(&server->house.clerks);

	house_unlock(&server->house);
	return gone;
}

/* The end of the daemon waits for them for a moment only. */
static void end_clerks(void)
{
	house_lock(&server->house);
	server->house.stopping = true;
	clerks_stop(&server->house);
	house_unlock(&server->house);
	AWAIT(clerks_are_gone());
}

int tear_down(void **state)
{
	(void)state;
	close_client();
	if (server) {
		AWAIT(held(RESOURCE_SESSIONS) == 0);
		for (unsigned i = 0; i < RESOURCE_COUNT; i++)
			assert_int_equal(held(i), 0);
		assert_true(TAILQ_EMPTY(&server->house.sessions));
		end_clerks();
		free_server();
	}
	/* a clerk and its porter leave after they have said so */
	AWAIT(count_fds_of(getpid()) == fds_before);
	AWAIT(porter_pid() == 0);
	return 0;
}

void connect_client(void)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	client = ends[0];
	acceptor_admit(&server->acceptor, ends[1]);
}

static void close_if_open(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void close_client(void)
{
	close_if_open(&client);
	close_if_open(&lease);
}

void next_client(void)
{
	close_client();
	AWAIT(held(RESOURCE_SESSIONS) == 0);
	forgive();
	connect_client();
}

int receive_answer(struct vdm_packet *reply)
{
	assert_true(await_input(client));
	return vdm_packet_receive(client, reply, 0);
}

int ask(const void *message, const int *fds, unsigned count, struct vdm_packet *reply)
{
	assert_int_equal(vdm_packet_send(client, message, fds, count), 0);
	return receive_answer(reply);
}

int ask_for(const void *message, const int *fds, unsigned count, uint32_t expected,
	    struct vdm_packet *reply)
{
	int result = ask(message, fds, count, reply);

	if (result)
		return result;
	if (reply->message.header.type == VDM_MESSAGE_REFUSED) {
		assert_true(strlen(reply->message.refused.text) > 10);
		assert_int_equal(reply->message.refused.request,
				 ((const struct vdm_message_header *)message)->type);
		return reply->message.refused.error;
	}
	assert_int_equal(reply->message.header.type, expected);
	return 0;
}

int synchronize(void)
{
	const struct vdm_message_status message = {.header = {VDM_MESSAGE_STATUS, sizeof message}};
	struct vdm_packet reply;
	int result = vdm_packet_send(client, &message.header, NULL, 0);

	if (result)
		return result;
	result = receive_answer(&reply);
	if (!result)
		assert_int_equal(reply.message.header.type, VDM_MESSAGE_STATUS_REPLY);
	return result;
}

int hello(uint64_t magic, uint32_t version, uint64_t features, uint32_t reserved)
{
	struct vdm_message_hello message = {
		{VDM_MESSAGE_HELLO, sizeof message}, magic, version, reserved, features, "test"};
	struct vdm_packet reply;
	int result = ask_for(&message, NULL, 0, VDM_MESSAGE_WELCOME, &reply);

	if (!result) {
		assert_int_equal(reply.fd_count, VDM_WELCOME_FD_COUNT);
		close_if_open(&lease);
		lease = vdm_packet_take(&reply, VDM_WELCOME_FD_LEASE);
	}
	return result;
}

void greet(void)
{
	assert_int_equal(hello(VDM_PROTOCOL_MAGIC, VDM_PROTOCOL_VERSION, 0, 0), 0);
}

int make_ring(uint32_t entries, uint32_t first_sequence, struct vdm_packet *reply)
{
	struct vdm_message_ring_create message = {
		.header = {VDM_MESSAGE_RING_CREATE, sizeof message},
		.entries = entries,
		.first_sequence = first_sequence};
	int result = ask_for(&message, NULL, 0, VDM_MESSAGE_RING_CREATED, reply);

	if (!result)
		assert_int_equal(reply->fd_count, VDM_RING_FD_COUNT);
	return result;
}

int create_ring(uint32_t entries, struct vdm_packet *reply)
{
	int result = make_ring(entries, 0, reply);

	if (!result)
		vdm_packet_close(reply);
	return result;
}

void *map_file(const struct vdm_packet *created, enum vdm_ring_fd file)
{
	const uint32_t entries = created->message.ring_created.entries;
	bool submission = file == VDM_RING_FD_SUBMISSION;
	void *mapped = map_populated(created->fds[file],
				     submission ? vdm_submission_size(entries)
						: vdm_completion_size(entries),
				     submission ? PROT_READ | PROT_WRITE : PROT_READ);

	assert_ptr_not_equal(mapped, MAP_FAILED);
	return mapped;
}

void *start_ring(const struct vdm_packet *created)
{
	const struct vdm_message_ring_created *ring = &created->message.ring_created;
	const struct vdm_message_ring_start message = ring_start(ring->ring);
	void *submission = map_file(created, VDM_RING_FD_SUBMISSION);

	munmap(map_file(created, VDM_RING_FD_COMPLETION), vdm_completion_size(ring->entries));
	vdm_submission_prepare(submission, ring->entries, ring->first_sequence);
	assert_int_equal(seal_submission(created->fds[VDM_RING_FD_SUBMISSION]), 0);
	assert_int_equal(vdm_packet_send(client, &message.header, NULL, 0), 0);
	assert_int_equal(synchronize(), 0);
	return submission;
}

int give_back(uint32_t type, uint32_t id, uint32_t reserved)
{
	struct vdm_message_ring_destroy message = {{type, sizeof message}, id, reserved};
	struct vdm_packet reply;

	return ask_for(&message, NULL, 0, VDM_MESSAGE_DONE, &reply);
}

int add_region(int fd, uint64_t size, uint32_t flags, uint32_t *id)
{
	struct vdm_message_region_add message = {
		{VDM_MESSAGE_REGION_ADD, sizeof message}, size, flags, 0};
	struct vdm_packet reply;
	int result = ask_for(&message, &fd, 1, VDM_MESSAGE_REGION_ADDED, &reply);

	if (!result)
		*id = reply.message.region_added.region;
	return result;
}

int memory_file(size_t bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(fallocate(fd, 0, 0, (off_t)bytes), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	return fd;
}
