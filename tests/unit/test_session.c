/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon/session.c and daemon/request.c: each message, well formed and malformed, over a socket
 * pair; and that a session leaves nothing behind.
 */
#include "daemon/session.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/server.h"
#include "engine/engine.h"
#include "proto/control.h"
#include "proto/ring.h"
#include "proto/submission.h"

static struct server *server;
static int client;
static unsigned fds_before;

/* What all sessions hold together. */
static uint64_t held(enum resource resource)
{
	return server->host.users.book.used[resource];
}

static unsigned count_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static void connect_client(void)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	client = ends[0];
	acceptor_admit(&server->acceptor, ends[1]);
}

/* The thread that maps pages closes its own descriptor when it comes to it. */
static void expect_fds(unsigned expected)
{
	for (unsigned i = 0; i < 1000000 && count_fds() != expected; i++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	assert_int_equal(count_fds(), expected);
}

/* Run until no session is left, and all of its descriptors have been closed. */
static void settle(void)
{
	for (;;) {
		users_sweep(&server->host.users, true);
		if (held(RESOURCE_SESSIONS) == 0 && LIST_EMPTY(&server->host.users.list))
			break;
		sd_event_run(server->host.event, UINT64_MAX);
	}
}

static int set_up(void **state)
{
	struct config config;

	(void)state;
	log_set_level(LOG_CRIT); /* violations are what is tested here */
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
	assert_int_equal(server_new(&config, &server), 0);
	/* the first session makes the event loop open descriptors that it keeps */
	connect_client();
	close(client);
	settle();
	fds_before = count_fds();
	connect_client();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (!server)
		return 0;
	if (client >= 0)
		close(client);
	settle();
	expect_fds(fds_before);
	assert_int_equal(held(RESOURCE_RINGS), 0);
	assert_int_equal(held(RESOURCE_REGIONS), 0);
	assert_int_equal(held(RESOURCE_MAPPED_BYTES), 0);
	server_free(server);
	return 0;
}

static void run_loop(void)
{
	while (sd_event_run(server->host.event, 0) > 0)
		;
}

/* Send a message, have it handled, and receive the answer. */
static int ask(const void *message, const int *fds, unsigned count, struct vdm_packet *reply)
{
	assert_int_equal(vdm_packet_send(client, message, fds, count), 0);
	run_loop();
	return vdm_packet_receive(client, reply, 0);
}

/* Returns 0 for the expected answer, or the error of a refusal or of the connection. */
static int ask_for(const void *message, const int *fds, unsigned count, uint32_t expected,
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

static int hello(uint64_t magic, uint32_t version, uint64_t features, uint32_t reserved)
{
	struct vdm_message_hello message = {
		{VDM_MESSAGE_HELLO, sizeof message}, magic, version, reserved, features, "test"};
	struct vdm_packet reply;

	return ask_for(&message, NULL, 0, VDM_MESSAGE_WELCOME, &reply);
}

static void greet(void)
{
	assert_int_equal(hello(VDM_PROTOCOL_MAGIC, VDM_PROTOCOL_VERSION, 0, 0), 0);
}

static int ring_create(uint32_t entries, uint32_t flags, struct vdm_packet *reply)
{
	struct vdm_message_ring_create message = {
		.header = {VDM_MESSAGE_RING_CREATE, sizeof message},
		.entries = entries,
		.flags = flags};
	void *submission;
	int fd = vdm_submission_make(vdm_ring_entries_valid(entries) ? entries : 4, 0, &submission);

	assert_true(fd >= 0);
	munmap(submission, vdm_submission_size(vdm_ring_entries_valid(entries) ? entries : 4));

	int result = ask_for(&message, &fd, 1, VDM_MESSAGE_RING_CREATED, reply);

	close(fd);
	if (!result) {
		assert_int_equal(reply->fd_count, VDM_RING_FD_COUNT);
		vdm_packet_close(reply);
	}
	return result;
}

/* Destroy a ring or remove a region: the two messages have one form. */
static int give_back(uint32_t type, uint32_t id, uint32_t reserved)
{
	struct vdm_message_ring_destroy message = {{type, sizeof message}, id, reserved};
	struct vdm_packet reply;

	return ask_for(&message, NULL, 0, VDM_MESSAGE_DONE, &reply);
}

static int region_add(int fd, uint64_t size, uint32_t flags, uint32_t *id)
{
	struct vdm_message_region_add message = {
		{VDM_MESSAGE_REGION_ADD, sizeof message}, size, flags, 0};
	struct vdm_packet reply;
	int result = ask_for(&message, &fd, 1, VDM_MESSAGE_REGION_ADDED, &reply);

	if (!result)
		*id = reply.message.region_added.region;
	return result;
}

static int memory_file(size_t bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(fallocate(fd, 0, 0, (off_t)bytes), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	return fd;
}

static void greetings(void **state)
{
	(void)state;
	assert_int_equal(hello(VDM_PROTOCOL_MAGIC, VDM_PROTOCOL_VERSION + 1, 0, 0),
			 -EPROTONOSUPPORT);
	assert_int_equal(hello(VDM_PROTOCOL_MAGIC, VDM_PROTOCOL_VERSION, 1ull << 63, 0),
			 -EOPNOTSUPP);
	assert_int_equal(hello(VDM_PROTOCOL_MAGIC, VDM_PROTOCOL_VERSION, VDM_FEATURE_DURABLE, 0),
			 -EOPNOTSUPP);
	greet(); /* a refusal does not end the session */
	assert_int_equal(hello(VDM_PROTOCOL_MAGIC, VDM_PROTOCOL_VERSION, 0, 0), -ENOTCONN);
	assert_int_equal(server->host.violated, 1);
}

/* A library of another release is told what to do, whatever follows the version in its greeting. */
static void a_greeting_of_another_version_is_refused_with_advice(void **state)
{
	union vdm_message message = {.hello = {.magic = VDM_PROTOCOL_MAGIC}};
	const struct {
		uint32_t version, size;
	} others[] = {{1, 32},
		      {2, 32},
		      {VDM_PROTOCOL_VERSION + 1, sizeof message.hello + 8},
		      {VDM_PROTOCOL_VERSION + 1, 20}};

	(void)state;
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		struct vdm_packet reply;

		message.header = (struct vdm_message_header){VDM_MESSAGE_HELLO, others[i].size};
		message.hello.version = others[i].version;
		assert_int_equal(ask_for(&message, NULL, 0, VDM_MESSAGE_WELCOME, &reply),
				 -EPROTONOSUPPORT);
		assert_non_null(strstr(reply.message.refused.text,
				       "install libvdm and vdmd of one release"));
	}
	assert_int_equal(server->host.violated, 0);
	greet();
}

/* Log and status show the name that the client gives itself, without what could forge a line. */
static void the_greeting_says_what_the_client_is_called(void **state)
{
	static const struct {
		char said[16];
		const char *heard;
	} names[] = {
		{"copier", "copier"},
		{"", ""},
		{"two\nlines\x1b[2J\xff", "two?lines?[2J?"},
		{"sixteen letters!", "sixteen letters"},
		{"over\0the end", "over"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct vdm_message_hello message = {.header = {VDM_MESSAGE_HELLO, sizeof message},
						    .magic = VDM_PROTOCOL_MAGIC,
						    .version = VDM_PROTOCOL_VERSION};
		struct vdm_packet reply;

		memcpy(message.command, names[i].said, sizeof message.command);
		assert_int_equal(ask_for(&message, NULL, 0, VDM_MESSAGE_WELCOME, &reply), 0);
		assert_string_equal(LIST_FIRST(&server->host.sessions)->peer.command,
				    names[i].heard);
		close(client);
		settle();
		connect_client();
	}
}

#define MESSAGE(member, type)                                                                      \
	.message.member.header = {VDM_MESSAGE_##type, sizeof(struct vdm_message_##member)}
#define HELLO(size, magic) .message.hello = {{VDM_MESSAGE_HELLO, size}, magic, VDM_PROTOCOL_VERSION}
#define HELLO_SIZE         sizeof(struct vdm_message_hello)

static const struct {
	const char *what;
	union vdm_message message;
	bool greeted;
	unsigned fds;
} violations[] = {
	{"a greeting without the magic number", HELLO(HELLO_SIZE, 1)},
	{"a greeting with reserved bits", HELLO(HELLO_SIZE, VDM_PROTOCOL_MAGIC),
	 .message.hello.reserved = 1},
	{"a greeting that is too short", HELLO(24, VDM_PROTOCOL_MAGIC)},
	{"a greeting with a descriptor", HELLO(HELLO_SIZE, VDM_PROTOCOL_MAGIC), .fds = 1},
	{"a second greeting", HELLO(HELLO_SIZE, VDM_PROTOCOL_MAGIC), .greeted = true},
	{"a request before the greeting", MESSAGE(status, STATUS)},
	{"a message of type 0", .message.header = {0, 24}, .greeted = true},
	{"a message beyond the last type", .message.header = {VDM_MESSAGE_TYPE_COUNT, 24},
	 .greeted = true},
	{"a message of the largest type", .message.header = {UINT32_MAX, 24}, .greeted = true},
	{"a message that daemons send", MESSAGE(welcome, WELCOME), .greeted = true},
	{"a ring with reserved bits", MESSAGE(ring_create, RING_CREATE),
	 .message.ring_create.flags = 1, .greeted = true, .fds = 1},
	{"a ring of no priority", MESSAGE(ring_create, RING_CREATE),
	 .message.ring_create.priority = 2, .greeted = true, .fds = 1},
	{"a ring without memory", MESSAGE(ring_create, RING_CREATE), .greeted = true},
	{"a ring with four descriptors", MESSAGE(ring_create, RING_CREATE), .greeted = true,
	 .fds = 4},
	{"a ring's end with reserved bits", MESSAGE(ring_destroy, RING_DESTROY),
	 .message.ring_destroy.reserved = 1, .greeted = true},
	{"a region without a file", MESSAGE(region_add, REGION_ADD), .greeted = true},
	{"a region with an unknown flag", MESSAGE(region_add, REGION_ADD),
	 .message.region_add.flags = 1u << 31, .greeted = true, .fds = 1},
	{"a region's end with reserved bits", MESSAGE(region_remove, REGION_REMOVE),
	 .message.region_remove.reserved = 1, .greeted = true},
};

/* Each violation ends the session, is counted, and gives back what came with it. */
static void violations_end_the_session(void **state)
{
	const int fds[] = {0, 1, 2, 0};

	(void)state;
	for (unsigned i = 0; i < sizeof violations / sizeof *violations; i++) {
		struct vdm_packet reply;

		if (violations[i].greeted)
			greet();
		if (ask(&violations[i].message, fds, violations[i].fds, &reply) != -ENOTCONN)
			fail_msg("%s is not a violation", violations[i].what);
		assert_int_equal(held(RESOURCE_SESSIONS), 0);
		assert_int_equal(server->host.violated, i + 1);
		close(client);
		settle();
		expect_fds(fds_before);
		connect_client();
	}
}

static void messages_of_another_length_end_the_session(void **state)
{
	char bytes[4096] = {0};
	struct vdm_packet reply;

	(void)state;
	for (size_t length = 1; length <= sizeof bytes; length = length * 2 + 1) {
		const struct vdm_message_header header = {VDM_MESSAGE_STATUS, 8};

		greet();
		memcpy(bytes, &header, sizeof header);
		if (length == 8)
			continue;
		assert_int_equal(send(client, bytes, length, 0), (ssize_t)length);
		run_loop();
		assert_int_equal(vdm_packet_receive(client, &reply, 0), -ENOTCONN);
		close(client);
		connect_client();
	}
}

static void surplus_descriptors_are_closed(void **state)
{
	struct vdm_message_status message = {{VDM_MESSAGE_STATUS, sizeof message}};
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * 253)];
	} control = {0};
	struct iovec part = {&message, sizeof message};
	struct msghdr header = {.msg_iov = &part,
				.msg_iovlen = 1,
				.msg_control = &control,
				.msg_controllen = sizeof control};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&header);

	(void)state;
	greet();
	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(int) * 253);
	for (unsigned i = 0; i < 253; i++)
		memcpy(CMSG_DATA(rights) + i * sizeof(int), &(int){0}, sizeof(int));
	assert_int_equal(sendmsg(client, &header, 0), sizeof message);
	run_loop();
	assert_int_equal(server->host.violated, 1);
	assert_int_equal(held(RESOURCE_SESSIONS), 0);
}

static void rings(void **state)
{
	struct vdm_packet reply;

	(void)state;
	greet();
	assert_int_equal(ring_create(0, 0, &reply), -EINVAL);
	assert_int_equal(ring_create(1, 0, &reply), -EINVAL);
	assert_int_equal(ring_create(3, 0, &reply), -EINVAL);
	assert_int_equal(ring_create(8192, 0, &reply), -EINVAL);
	assert_int_equal(ring_create(UINT32_MAX, 0, &reply), -EINVAL);
	assert_int_equal(ring_create(128, 0, &reply), -EDQUOT);
	assert_non_null(strstr(reply.message.refused.text, "entries_per_ring"));
	assert_int_equal(ring_create(64, 0, &reply), 0);

	uint32_t id = reply.message.ring_created.ring;

	assert_int_equal(ring_create(2, 0, &reply), 0);
	assert_int_equal(ring_create(2, 0, &reply), -EDQUOT);
	assert_non_null(strstr(reply.message.refused.text, "rings_per_session"));
	assert_int_equal(held(RESOURCE_RINGS), 2);
	assert_int_equal(give_back(VDM_MESSAGE_RING_DESTROY, id + 100, 0), -ENOENT);
	assert_int_equal(give_back(VDM_MESSAGE_RING_DESTROY, id, 0), 0);
	assert_int_equal(give_back(VDM_MESSAGE_RING_DESTROY, id, 0), -ENOENT);
	assert_int_equal(held(RESOURCE_RINGS), 1);
	assert_int_equal(ring_create(2, 0, &reply), 0);
	assert_int_equal(give_back(VDM_MESSAGE_RING_DESTROY, id, 1), -ENOTCONN);
}

/*
 * A client can neither resize a ring's memory, nor write completions, nor take away pages of the
 * submissions.
 */
static void ring_memory_is_sealed(void **state)
{
	struct vdm_message_ring_create message = {
		{VDM_MESSAGE_RING_CREATE, sizeof message}, 4, 0, 0, 0};
	const size_t size = vdm_submission_size(4);
	struct vdm_packet reply;
	void *submission;
	int fds[2] = {vdm_submission_make(4, 0, &submission), -1};

	(void)state;
	greet();
	assert_int_equal(ask_for(&message, fds, 1, VDM_MESSAGE_RING_CREATED, &reply), 0);
	fds[1] = reply.fds[VDM_RING_FD_COMPLETION];
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(ftruncate(fds[i], 0), -1);
		assert_int_equal(ftruncate(fds[i], 1 << 20), -1);
		assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0),
				 MAP_FAILED);
	}
	assert_int_equal(fcntl(fds[1], F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	assert_int_equal(fcntl(fds[1], F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(fallocate(fds[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				   (off_t)size),
			 -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(madvise(submission, size, MADV_REMOVE), -1);
	munmap(submission, size);
	close(fds[0]);
	vdm_packet_close(&reply);
}

/* Each rule that the memory of submissions may break has its own refusal. */
static void wrong_memory_for_a_ring_is_refused(void **state)
{
	struct vdm_message_ring_create message = {
		{VDM_MESSAGE_RING_CREATE, sizeof message}, 64, 0, 0, 0};
	const size_t size = vdm_submission_size(64);
	const int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE;
	const struct {
		size_t size, allocated;
		int seals, error;
		const char *word;
		off_t from;
	} wrong[] = {
		{size, size, 0, -EPERM, "F_SEAL_FUTURE_WRITE"},
		{size, size, F_SEAL_SHRINK | F_SEAL_GROW, -EPERM, "F_SEAL_FUTURE_WRITE"},
		{size, size, F_SEAL_FUTURE_WRITE, -EPERM, "F_SEAL_SHRINK"},
		{4096, 4096, all, -EFBIG, "4096"},
		{size, 4096, all, -ENODATA, "fallocate"},
		/* all pages beyond the end */
		{size, size, all, server->host.holes_fd >= 0 ? -ENODATA : 0, "fallocate",
		 (off_t)size},
		{size, size, all, 0, ""}, /* as it is to be */
	};
	struct vdm_packet reply;

	(void)state;
	greet();
	for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

		assert_int_equal(ftruncate(fd, (off_t)wrong[i].size), 0);
		assert_int_equal(fallocate(fd, FALLOC_FL_KEEP_SIZE, wrong[i].from,
					   (off_t)wrong[i].allocated),
				 0);
		assert_int_equal(fcntl(fd, F_ADD_SEALS, wrong[i].seals), 0);
		assert_int_equal(ask_for(&message, &fd, 1, VDM_MESSAGE_RING_CREATED, &reply),
				 wrong[i].error);
		if (wrong[i].error)
			assert_non_null(strstr(reply.message.refused.text, wrong[i].word));
		else
			vdm_packet_close(&reply);
		close(fd);
	}

	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC),
	    path = open("/dev/null", O_PATH | O_CLOEXEC);

	assert_int_equal(ask_for(&message, &file, 1, VDM_MESSAGE_RING_CREATED, &reply),
			 -EMEDIUMTYPE);
	assert_int_equal(ask_for(&message, &path, 1, VDM_MESSAGE_RING_CREATED, &reply),
			 -EMEDIUMTYPE);
	assert_int_equal(held(RESOURCE_RINGS), 1);
	close(file);
	close(path);
}

static void regions(void **state)
{
	int first = memory_file(64 << 10), second = memory_file(64 << 10),
	    third = memory_file(4096);
	int large = memory_file(2 << 20);
	uint32_t id = 0, other;

	(void)state;
	greet();
	assert_int_equal(region_add(first, 64 << 10, 0, &id), 0);
	assert_true(id != 0);
	assert_int_equal(region_add(first, 4096, 0, &other), -EEXIST);
	assert_int_equal(region_add(large, 2 << 20, 0, &other), -EDQUOT); /* region_bytes */
	/* mapped_bytes_per_user */
	assert_int_equal(region_add(large, 128 << 10, 0, &other), -EDQUOT);
	assert_int_equal(region_add(second, 64 << 10, VDM_REGION_READ_ONLY, &other), 0);
	assert_int_equal(region_add(third, 4096, 0, &other), -E2BIG);
	assert_int_equal(held(RESOURCE_MAPPED_BYTES), 128 << 10);
	assert_int_equal(give_back(VDM_MESSAGE_REGION_REMOVE, id + 1000, 0), -ENOENT);
	assert_int_equal(give_back(VDM_MESSAGE_REGION_REMOVE, id, 0), 0);
	assert_int_equal(give_back(VDM_MESSAGE_REGION_REMOVE, id, 0), -ENOENT);
	assert_int_equal(held(RESOURCE_MAPPED_BYTES), 64 << 10);
	assert_int_equal(region_add(third, 4096, 1u << 31, &other), -ENOTCONN);
	close(first);
	close(second);
	close(third);
	close(large);
}

static void a_session_that_ends_gives_everything_back(void **state)
{
	struct vdm_packet reply;
	int fd = memory_file(4096);
	uint32_t id;

	(void)state;
	greet();
	assert_int_equal(ring_create(64, 0, &reply), 0);
	assert_int_equal(region_add(fd, 4096, 0, &id), 0);
	close(fd);
	/* and tear_down() looks */
}

/* All sessions of a user share its limits. */
static void limits_of_a_user_hold_over_his_sessions(void **state)
{
	int first = client, fd[4];
	struct vdm_packet reply;
	uint32_t id;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		fd[i] = memory_file(4096);
	greet();
	assert_int_equal(ring_create(2, 0, &reply), 0);
	assert_int_equal(ring_create(2, 0, &reply), 0);
	assert_int_equal(region_add(fd[0], 4096, 0, &id), 0);
	assert_int_equal(region_add(fd[1], 4096, 0, &id), 0);
	connect_client();
	greet();
	assert_int_equal(ring_create(2, 0, &reply), 0);
	assert_int_equal(ring_create(2, 0, &reply), -EDQUOT);
	assert_non_null(strstr(reply.message.refused.text, "rings_per_user"));
	assert_int_equal(region_add(fd[2], 4096, 0, &id), 0);
	assert_int_equal(region_add(fd[3], 4096, 0, &id), -EDQUOT);
	close(first);
	while (held(RESOURCE_SESSIONS) > 1)
		sd_event_run(server->host.event, UINT64_MAX);
	assert_int_equal(ring_create(2, 0, &reply), 0);
	assert_int_equal(region_add(fd[3], 4096, 0, &id), 0);
	for (unsigned i = 0; i < 4; i++)
		close(fd[i]);
}

static void sessions_of_a_user_are_limited(void **state)
{
	int first = client, second;
	struct vdm_packet reply;

	(void)state;
	connect_client();
	second = client;
	connect_client();
	assert_int_equal(vdm_packet_receive(client, &reply, 0), 0);
	assert_int_equal(reply.message.header.type, VDM_MESSAGE_REFUSED);
	assert_int_equal(reply.message.refused.error, -EDQUOT);
	assert_non_null(strstr(reply.message.refused.text, "sessions_per_user"));
	assert_int_equal(held(RESOURCE_SESSIONS), 2);
	assert_int_equal(server->host.refused, 1);

	/* messages about them are counted together as well */
	const struct session *session = LIST_FIRST(&server->host.sessions);

	assert_ptr_equal(session->peer.limit, &session->user->log_limit);
	close(first);
	close(second);
	while (held(RESOURCE_SESSIONS) > 0)
		sd_event_run(server->host.event, UINT64_MAX);
}

/* The other half is for other users. */
static void a_user_gets_half_of_all_sessions(void **state)
{
	int first = client;
	struct vdm_packet reply;

	(void)state;
	server->config.limits.sessions = 2;
	users_configure(&server->host.users);
	connect_client();
	assert_int_equal(vdm_packet_receive(client, &reply, 0), 0);
	assert_int_equal(reply.message.refused.error, -EDQUOT);
	assert_non_null(strstr(reply.message.refused.text, "has 1 sessions and 1 are left"));
	assert_int_equal(held(RESOURCE_SESSIONS), 1);
	close(client);
	client = first;
}

/* Ask for two reports and read neither, which ends the session. */
static void leave_an_answer_unread(void)
{
	struct vdm_message_status message = {{VDM_MESSAGE_STATUS, sizeof message}};

	greet();
	assert_int_equal(vdm_packet_send(client, &message.header, NULL, 0), 0);
	assert_int_equal(vdm_packet_send(client, &message.header, NULL, 0), 0);
	run_loop();
	assert_int_equal(server->host.violated, 1);
}

/*
 * Descriptors on their way count as the daemon's, so the client that leaves them there goes on
 * paying.
 */
static void answers_with_descriptors_have_to_be_read(void **state)
{
	struct vdm_packet reply;

	(void)state;
	leave_an_answer_unread();
	assert_int_equal(LIST_FIRST(&server->host.sessions)->state, SESSION_UNREAD);
	while (sd_event_run(server->host.event, 200000) > 0)
		; /* hangs if the daemon polls */
	assert_int_equal(held(RESOURCE_SESSIONS), 1);
	assert_int_equal(vdm_packet_receive(client, &reply, 0), 0);
	vdm_packet_close(&reply);
	while (held(RESOURCE_SESSIONS) > 0)
		sd_event_run(server->host.event, UINT64_MAX);
}

static void a_session_stays_until_all_its_answers_are_read(void **state)
{
	struct vdm_message_ring_destroy none = {{VDM_MESSAGE_RING_DESTROY, sizeof none}, 1, 0};
	struct vdm_packet reply;

	(void)state;
	greet();
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(vdm_packet_send(client, &none.header, NULL, 0), 0);
	none.header.type = 0; /* which ends the session */
	assert_int_equal(vdm_packet_send(client, &none.header, NULL, 0), 0);
	for (unsigned i = 0; i < 3; i++) {
		run_loop();
		assert_int_equal(held(RESOURCE_SESSIONS), 1);
		assert_int_equal(vdm_packet_receive(client, &reply, 0), 0);
	}
	while (held(RESOURCE_SESSIONS) > 0)
		sd_event_run(server->host.event, UINT64_MAX);
}

static void a_session_stays_no_longer_than_its_client(void **state)
{
	(void)state;
	leave_an_answer_unread();
	close(client);
	client = -1;
	while (held(RESOURCE_SESSIONS) > 0)
		sd_event_run(server->host.event, UINT64_MAX);
}

static void the_daemon_ends_without_its_answers_being_read(void **state)
{
	(void)state;
	leave_an_answer_unread();
	server_free(server);
	server = NULL; /* and tear_down() has nothing to look at */
	close(client);
	client = -1;
}

/* Even if messages that are left in it hold the other end. */
static void a_socket_does_not_keep_itself_open(void **state)
{
	struct vdm_message_status message = {{VDM_MESSAGE_STATUS, sizeof message}};

	(void)state;
	greet();
	assert_int_equal(vdm_packet_send(client, &message.header, NULL, 0), 0);
	/* which ends the session */
	assert_int_equal(vdm_packet_send(client, &message.header, NULL, 0), 0);
	for (unsigned i = 0; i < 40; i++) /* more than are discarded at once */
		assert_int_equal(vdm_packet_send(client, &message.header, &client, 1), 0);
	close(client);
	client = -1;
	while (held(RESOURCE_SESSIONS) > 0)
		sd_event_run(server->host.event, UINT64_MAX);
}

/* A session has one report at the most. A client that keeps earlier ones keeps empty files. */
static void reports_are_emptied(void **state)
{
	struct vdm_message_status message = {{VDM_MESSAGE_STATUS, sizeof message}};
	struct vdm_packet reply[2];
	struct stat status;
	char byte;

	(void)state;
	greet();
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(ask_for(&message, NULL, 0, VDM_MESSAGE_STATUS_REPLY, &reply[i]),
				 0);
		assert_int_equal(pread(reply[i].fds[0], &byte, 1, 0), 1);
		assert_int_equal(write(reply[i].fds[0], &byte, 1), -1);
	}
	close(client);
	client = -1;
	settle();
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(fstat(reply[i].fds[0], &status), 0);
		assert_int_equal(status.st_blocks, 0);
		vdm_packet_close(&reply[i]);
	}
}

/* A report would have to wait behind what is being closed before its pages are given back. */
static void no_reports_while_closing_takes_too_long(void **state)
{
	struct vdm_message_status message = {{VDM_MESSAGE_STATUS, sizeof message}};
	struct user *user = LIST_FIRST(&server->host.users.list);

	(void)state;
	greet();
	user->reaper_jobs += 2000;
	assert_int_equal(vdm_packet_send(client, &message.header, NULL, 0), 0);
	run_loop();
	user->reaper_jobs -= 2000;
	assert_int_equal(server->host.violated, 1);
}

/* A client that does not read its answers does not make the daemon wait. */
static void a_client_that_does_not_read_is_ended(void **state)
{
	struct vdm_message_ring_destroy message = {
		{VDM_MESSAGE_RING_DESTROY, sizeof message}, 1, 0};
	unsigned sent = 0;
	int result = 0;

	(void)state;
	greet();
	for (; sent < 100000 && !result; sent++) {
		result = vdm_packet_send(client, &message.header, NULL, 0);
		run_loop();
	}
	assert_int_equal(result, -ENOTCONN); /* not one more: the session has ended */
	close(client);
	client = -1;
	while (held(RESOURCE_SESSIONS) > 0)
		sd_event_run(server->host.event, UINT64_MAX);
}

static sem_t copy_began, copy_may_end;

static void *wait_and_copy(void *dest, const void *src, size_t n, unsigned flags)
{
	(void)flags;
	sem_post(&copy_began);
	sem_wait(&copy_may_end);
	return memcpy(dest, src, n);
}

/* An operation that a worker is at until copy_may_end is posted. */
struct slow_copy {
	int region_fd, submission_fd;
	uint32_t region, ring;
	void *submission;
	struct vdm_packet created;
};

static void begin_copy(struct slow_copy *slow)
{
	const struct kernels kernels = {.copy = wait_and_copy};
	const size_t bytes = 64 << 10;
	struct vdm_message_ring_create message = {
		{VDM_MESSAGE_RING_CREATE, sizeof message}, 4, 0, 0, 0};

	slow->region_fd = memory_file(bytes);
	slow->submission_fd = vdm_submission_make(4, 0, &slow->submission);
	greet();
	assert_int_equal(region_add(slow->region_fd, bytes, 0, &slow->region), 0);
	assert_int_equal(ask_for(&message, &slow->submission_fd, 1, VDM_MESSAGE_RING_CREATED,
				 &slow->created),
			 0);
	slow->ring = slow->created.message.ring_created.ring;
	sem_init(&copy_began, 0, 0);
	sem_init(&copy_may_end, 0, 0);
	engine_set_kernels(server->host.engine, &kernels);

	struct vdm_descriptor *copy = vdm_descriptors(slow->submission);

	copy->opcode = VDM_OPCODE_MEMCPY;
	copy->destination_region = copy->source_region = slow->region;
	copy->source_offset = bytes / 2;
	copy->length = bytes / 2;
	atomic_store(&copy->sequence, 1);
	eventfd_write(slow->created.fds[VDM_RING_FD_DOORBELL], 1);
	sem_wait(&copy_began);
}

static void forget_copy(struct slow_copy *slow)
{
	const struct kernels standard = {NULL};

	engine_set_kernels(server->host.engine, &standard);
	vdm_packet_close(&slow->created);
	munmap(slow->submission, vdm_submission_size(4));
	close(slow->submission_fd);
	close(slow->region_fd);
}

static bool hung_up(void)
{
	struct pollfd event = {.fd = client, .events = POLLRDHUP};

	return poll(&event, 1, 0) > 0 && (event.revents & (POLLRDHUP | POLLHUP));
}

/* To a client the hang-up proves that nothing moves its bytes any more. */
static void a_session_hangs_up_when_nothing_is_in_progress_any_more(void **state)
{
	const struct vdm_message_header nonsense = {VDM_MESSAGE_WELCOME, sizeof nonsense};
	struct slow_copy copy;

	(void)state;
	begin_copy(&copy);
	assert_int_equal(vdm_packet_send(client, &nonsense, NULL, 0), 0);
	run_loop();
	assert_int_equal(server->host.violated, 1);
	assert_false(hung_up());
	sem_post(&copy_may_end);
	while (!hung_up())
		sd_event_run(server->host.event, 1000);
	forget_copy(&copy);
}

static int next_answer(struct vdm_packet *reply)
{
	for (;;) {
		int result = vdm_packet_receive(client, reply, 0);

		if (result != -EAGAIN)
			return result;
		sd_event_run(server->host.event, 1000);
	}
}

/* So is the answer to a ring's or region's end, and later requests are answered after it. */
static void what_a_worker_uses_is_given_back_when_it_lets_go(void **state)
{
	const uint32_t types[] = {VDM_MESSAGE_RING_DESTROY, VDM_MESSAGE_REGION_REMOVE};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct vdm_message_ring_destroy end = {{types[i], sizeof end}, 0, 0};
		const struct vdm_message_header status = {VDM_MESSAGE_STATUS, sizeof status};
		struct slow_copy copy;
		struct vdm_packet reply;

		begin_copy(&copy);
		end.ring = i == 0 ? copy.ring : copy.region;
		assert_int_equal(vdm_packet_send(client, &end.header, NULL, 0), 0);
		assert_int_equal(vdm_packet_send(client, &status, NULL, 0), 0);
		run_loop();
		assert_int_equal(LIST_FIRST(&server->host.sessions)->state, SESSION_WAITING);
		assert_int_equal(vdm_packet_receive(client, &reply, 0), -EAGAIN);
		sem_post(&copy_may_end);
		assert_int_equal(next_answer(&reply), 0);
		assert_int_equal(reply.message.header.type, VDM_MESSAGE_DONE);
		assert_int_equal(next_answer(&reply), 0);
		assert_int_equal(reply.message.header.type, VDM_MESSAGE_STATUS_REPLY);
		vdm_packet_close(&reply);
		forget_copy(&copy);
		close(client);
		settle();
		connect_client();
	}
}

/* A client that hangs up while it waits for an answer is not answered any more. */
static void a_session_may_end_while_it_waits(void **state)
{
	struct slow_copy copy;

	(void)state;
	begin_copy(&copy);

	struct vdm_message_ring_destroy end = {
		{VDM_MESSAGE_RING_DESTROY, sizeof end}, copy.ring, 0};

	assert_int_equal(vdm_packet_send(client, &end.header, NULL, 0), 0);
	run_loop();
	session_end(LIST_FIRST(&server->host.sessions));
	assert_int_equal(LIST_FIRST(&server->host.sessions)->state, SESSION_ENDING);
	sem_post(&copy_may_end);
	while (held(RESOURCE_SESSIONS) > 0)
		sd_event_run(server->host.event, 1000);
	forget_copy(&copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(greetings),
		TEST(a_greeting_of_another_version_is_refused_with_advice),
		TEST(the_greeting_says_what_the_client_is_called),
		TEST(violations_end_the_session),
		TEST(messages_of_another_length_end_the_session),
		TEST(surplus_descriptors_are_closed),
		TEST(rings),
		TEST(ring_memory_is_sealed),
		TEST(wrong_memory_for_a_ring_is_refused),
		TEST(regions),
		TEST(a_session_that_ends_gives_everything_back),
		TEST(limits_of_a_user_hold_over_his_sessions),
		TEST(sessions_of_a_user_are_limited),
		TEST(a_user_gets_half_of_all_sessions),
		TEST(answers_with_descriptors_have_to_be_read),
		TEST(a_session_stays_until_all_its_answers_are_read),
		TEST(a_session_stays_no_longer_than_its_client),
		TEST(the_daemon_ends_without_its_answers_being_read),
		TEST(a_socket_does_not_keep_itself_open),
		TEST(reports_are_emptied),
		TEST(no_reports_while_closing_takes_too_long),
		TEST(a_client_that_does_not_read_is_ended),
		TEST(a_session_hangs_up_when_nothing_is_in_progress_any_more),
		TEST(what_a_worker_uses_is_given_back_when_it_lets_go),
		TEST(a_session_may_end_while_it_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
