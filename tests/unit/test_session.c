/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client's session as a whole, from its socket through porter and clerk: each message, well
 * formed and malformed; limits; and how a session ends, and leaves nothing behind.
 * test_session_rings has rings and regions.
 */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/clerk.h"
#include "engine/engine.h"
#include "live_daemon.h"
#include "proto/ring.h"

static void greetings(void **state)
{
	(void)state;
	assert_int_equal(hello(VDM_PROTOCOL_MAGIC, VDM_PROTOCOL_VERSION + 1, 0, 0),
			 -EPROTONOSUPPORT);
	assert_int_equal(hello(VDM_PROTOCOL_MAGIC, VDM_PROTOCOL_VERSION, 1ull << 63, 0),
			 -EOPNOTSUPP);
	greet(); /* a refusal does not end the session */
	assert_int_equal(hello(VDM_PROTOCOL_MAGIC, VDM_PROTOCOL_VERSION, 0, 0), -ENOTCONN);
	assert_int_equal(violated(), 1);
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
	assert_int_equal(violated(), 0);
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
		vdm_packet_close(&reply);
		assert_int_equal(synchronize(), 0);
		house_lock(&server->house);
		assert_string_equal(TAILQ_FIRST(&server->house.sessions)->peer.command,
				    names[i].heard);
		house_unlock(&server->house);
		next_client();
	}
}

#define MESSAGE(member, type)                                                                      \
	.message.member.header = {VDM_MESSAGE_##type, sizeof(struct vdm_message_##member)}
#define HELLO(size, magic) .message.hello = {{VDM_MESSAGE_HELLO, size}, magic, VDM_PROTOCOL_VERSION}
#define HELLO_SIZE         sizeof(struct vdm_message_hello)

static const struct {
	const char *what, *reason;
	union vdm_message message;
	bool greeted;
	unsigned fds;
} violations[] = {
	{"a greeting without the magic number", "its greeting is malformed", HELLO(HELLO_SIZE, 1)},
	{"a greeting with reserved bits", "its greeting is malformed",
	 HELLO(HELLO_SIZE, VDM_PROTOCOL_MAGIC), .message.hello.reserved = 1},
	{"a greeting that is too short", "size of its type", HELLO(24, VDM_PROTOCOL_MAGIC)},
	{"a greeting with a descriptor", "number of descriptors",
	 HELLO(HELLO_SIZE, VDM_PROTOCOL_MAGIC), .fds = 1},
	{"a second greeting", "greeted twice", HELLO(HELLO_SIZE, VDM_PROTOCOL_MAGIC),
	 .greeted = true},
	{"a request before the greeting", "before the greeting", MESSAGE(status, STATUS)},
	{"a message of type 0", "do not send", .message.header = {0, 24}, .greeted = true},
	{"a message beyond the last type", "do not send",
	 .message.header = {VDM_MESSAGE_TYPE_COUNT, 24}, .greeted = true},
	{"a message of the largest type", "do not send", .message.header = {UINT32_MAX, 24},
	 .greeted = true},
	{"a message that daemons send", "do not send", MESSAGE(welcome, WELCOME), .greeted = true},
	{"a ring with reserved bits", "reserved bits", MESSAGE(ring_create, RING_CREATE),
	 .message.ring_create.flags = 1, .greeted = true},
	{"a ring of no priority", "a priority that does not exist",
	 MESSAGE(ring_create, RING_CREATE), .message.ring_create.priority = 2, .greeted = true},
	{"a ring with a descriptor", "number of descriptors", MESSAGE(ring_create, RING_CREATE),
	 .message.ring_create.entries = 4, .greeted = true, .fds = 1},
	{"a ring with four descriptors", "number of descriptors", MESSAGE(ring_create, RING_CREATE),
	 .greeted = true, .fds = 4},
	{"the start of a ring that does not exist", "started a ring that does not exist",
	 MESSAGE(ring_start, RING_START), .message.ring_start.ring = 1, .greeted = true},
	{"a start with a descriptor", "number of descriptors", MESSAGE(ring_start, RING_START),
	 .greeted = true, .fds = 1},
	{"a ring's end with reserved bits", "reserved bits", MESSAGE(ring_destroy, RING_DESTROY),
	 .message.ring_destroy.reserved = 1, .greeted = true},
	{"a region without a file", "number of descriptors", MESSAGE(region_add, REGION_ADD),
	 .greeted = true},
	{"a region with an unknown flag", "reserved bits", MESSAGE(region_add, REGION_ADD),
	 .message.region_add.flags = 1u << 31, .greeted = true, .fds = 1},
	{"a region's end with reserved bits", "reserved bits",
	 MESSAGE(region_remove, REGION_REMOVE), .message.region_remove.reserved = 1,
	 .greeted = true},
};

/*
 * Descriptors that the porter has without a session. From its first timer on, it has one more.
 * Another client connects.
 */
static unsigned porters_fds(void)
{
	close_client();
	AWAIT(held(RESOURCE_SESSIONS) == 0);

	const unsigned count = count_fds_of(porter_pid());

	connect_client();
	assert_true(count > 0);
	return count;
}

/* Each violation ends the session, is counted and logged, and gives back what came with it. */
static void violations_end_the_session(void **state)
{
	const int fds[] = {0, 1, 2, 0};
	const unsigned fds_before = porters_fds();

	(void)state;
	for (unsigned i = 0; i < sizeof violations / sizeof *violations; i++) {
		struct vdm_packet reply;

		if (violations[i].greeted)
			greet();
		if (ask(&violations[i].message, fds, violations[i].fds, &reply) != -ENOTCONN)
			fail_msg("%s is not a violation", violations[i].what);
		if (!strstr(last_logged(), violations[i].reason))
			fail_msg("%s: %s", violations[i].what, last_logged());
		assert_int_equal(violated(), i + 1);
		next_client();
	}
	assert_true(porters_fds() <= fds_before + 1);
}

static void messages_of_another_length_end_the_session(void **state)
{
	char bytes[4096] = {0};
	struct vdm_packet reply;

	(void)state;
	for (size_t length = 1; length <= sizeof bytes; length = length * 2 + 1) {
		const struct vdm_message_header header = {VDM_MESSAGE_STATUS, 16};

		greet();
		memcpy(bytes, &header, sizeof header);
		assert_int_equal(send(client, bytes, length, 0), (ssize_t)length);
		assert_int_equal(receive_answer(&reply), -ENOTCONN);
		next_client();
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
	struct vdm_packet reply;
	const unsigned fds_before = porters_fds();

	(void)state;
	greet();
	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(int) * 253);
	for (unsigned i = 0; i < 253; i++)
		memcpy(CMSG_DATA(rights) + i * sizeof(int), &(int){0}, sizeof(int));
	assert_int_equal(sendmsg(client, &header, 0), sizeof message);
	assert_int_equal(receive_answer(&reply), -ENOTCONN);
	assert_int_equal(violated(), 1);
	assert_true(porters_fds() <= fds_before + 1);
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
	assert_int_equal(create_ring(2, &reply), 0);
	assert_int_equal(create_ring(2, &reply), 0);
	assert_int_equal(add_region(fd[0], 4096, 0, &id), 0);
	assert_int_equal(add_region(fd[1], 4096, 0, &id), 0);
	connect_client();
	greet();
	assert_int_equal(create_ring(2, &reply), 0);
	assert_int_equal(create_ring(2, &reply), -EDQUOT);
	assert_non_null(strstr(reply.message.refused.text, "rings_per_user"));
	assert_non_null(strstr(last_logged(), "rings_per_user"));
	assert_int_equal(add_region(fd[2], 4096, 0, &id), 0);
	assert_int_equal(add_region(fd[3], 4096, 0, &id), -EDQUOT);
	close(first);
	AWAIT(held(RESOURCE_SESSIONS) == 1);
	assert_int_equal(create_ring(2, &reply), 0);
	assert_int_equal(add_region(fd[3], 4096, 0, &id), 0);
	for (unsigned i = 0; i < 4; i++)
		close(fd[i]);
}

/* The client reads the refusal in answer to its greeting, and then the end. */
static void expect_refusal(const char *text)
{
	struct vdm_packet reply;

	assert_int_equal(receive_answer(&reply), 0);
	assert_int_equal(reply.message.header.type, VDM_MESSAGE_REFUSED);
	assert_int_equal(reply.message.refused.request, VDM_MESSAGE_HELLO);
	assert_int_equal(reply.message.refused.error, -EDQUOT);
	assert_non_null(strstr(reply.message.refused.text, text));
	assert_non_null(strstr(last_logged(), text));
	assert_int_equal(receive_answer(&reply), -ENOTCONN);
	assert_int_equal(refused(), 1);
}

static void sessions_of_a_user_are_limited(void **state)
{
	int first = client, second;

	(void)state;
	connect_client();
	second = client;
	connect_client();
	expect_refusal("sessions_per_user");
	assert_int_equal(held(RESOURCE_SESSIONS), 2);
	close(client);
	client = second;
	greet(); /* the others are none the worse */

	/* messages about them are counted together as well */
	const struct session *session = TAILQ_FIRST(&server->house.sessions);

	assert_ptr_equal(session->peer.limit, &session->user->log_limit);
	close(first);
}

/* The other half is for other users. */
static void a_user_gets_half_of_all_sessions(void **state)
{
	int first = client;

	(void)state;
	house_lock(&server->house);
	server->config.limits.sessions = 2;
	users_configure(&server->house.users);
	house_unlock(&server->house);
	connect_client();
	expect_refusal("has 1 sessions and 1 are left");
	assert_int_equal(held(RESOURCE_SESSIONS), 1);
	close(client);
	client = first;
}

static void handshakes_of_a_user_are_limited(void **state)
{
	(void)state;
	house_lock(&server->house);
	server->config.limits.handshakes_per_second = 1;
	users_configure(&server->house.users);
	LIST_FIRST(&server->house.users.list)->handshakes = 0;
	house_unlock(&server->house);
	close_client();
	connect_client();
	expect_refusal("handshakes_per_second");
}

/* The totals, and the sessions that come next by number. */
static void status_tells_of_sessions_a_few_at_a_time(void **state)
{
	struct vdm_message_status message = {.header = {VDM_MESSAGE_STATUS, sizeof message}};
	enum { sessions = VDM_STATUS_SESSIONS + 3 };
	struct vdm_packet reply;
	int clients[sessions - 1];

	(void)state;
	house_lock(&server->house);
	server->config.limits.sessions_per_user = sessions;
	users_configure(&server->house.users);
	house_unlock(&server->house);
	for (unsigned i = 0; i < sessions - 1; i++) {
		clients[i] = client;
		connect_client();
	}
	greet();
	for (unsigned known = 0; known < sessions + 2;) {
		const unsigned left = known < sessions ? sessions - known : 0,
			       next = left < VDM_STATUS_SESSIONS ? left : VDM_STATUS_SESSIONS;
		const struct vdm_message_status_reply *status = &reply.message.status_reply;

		message.after = known;
		assert_int_equal(ask_for(&message, NULL, 0, VDM_MESSAGE_STATUS_REPLY, &reply), 0);
		assert_int_equal(reply.fd_count, 0);
		assert_int_equal(status->daemon.sessions, sessions);
		assert_int_equal(status->daemon.sessions_accepted, sessions);
		assert_int_equal(status->session_count, next);
		for (unsigned i = 0; i < next; i++)
			assert_int_equal(status->sessions[i].number, known + i + 1);
		known += next > 0 ? next : 1;
	}
	message.after = UINT64_MAX;
	assert_int_equal(ask_for(&message, NULL, 0, VDM_MESSAGE_STATUS_REPLY, &reply), 0);
	assert_int_equal(reply.message.status_reply.session_count, 0);
	for (unsigned i = 0; i < sessions - 1; i++)
		close(clients[i]);
}

/* Ask for two rings and read neither answer, which ends the session. */
static void leave_an_answer_unread(void)
{
	struct vdm_message_ring_create message = {
		.header = {VDM_MESSAGE_RING_CREATE, sizeof message}, .entries = 4};

	greet();
	assert_int_equal(vdm_packet_send(client, &message.header, NULL, 0), 0);
	assert_int_equal(vdm_packet_send(client, &message.header, NULL, 0), 0);
	AWAIT(is_hung_up(client));
	assert_int_equal(violated(), 1);
	assert_non_null(strstr(last_logged(), "without having read"));
	/* what is unread is all that is left of the session */
	assert_true(is_hung_up(lease));
	assert_int_equal(held(RESOURCE_RINGS), 0);
}

/* The porter has come to all that has happened so far. */
static void synchronize_porter(void)
{
	int before = client, lease_before = lease;

	lease = -1;
	connect_client();
	greet();
	close_client();
	AWAIT(held(RESOURCE_SESSIONS) == 1);
	client = before;
	lease = lease_before;
}

/*
 * Descriptors on their way count as the porter's, so the client that leaves them there goes on
 * paying.
 */
static void answers_with_descriptors_have_to_be_read(void **state)
{
	struct vdm_packet reply;

	(void)state;
	leave_an_answer_unread();
	synchronize_porter();
	assert_int_equal(held(RESOURCE_SESSIONS), 1);
	assert_int_equal(receive_answer(&reply), 0);
	assert_int_equal(reply.fd_count, VDM_RING_FD_COUNT);
	vdm_packet_close(&reply);
	AWAIT(held(RESOURCE_SESSIONS) == 0);
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
	AWAIT(is_hung_up(client));
	for (unsigned i = 0; i < 3; i++) {
		synchronize_porter();
		assert_int_equal(held(RESOURCE_SESSIONS), 1);
		assert_int_equal(receive_answer(&reply), 0);
		assert_int_equal(reply.message.header.type, VDM_MESSAGE_REFUSED);
	}
	AWAIT(held(RESOURCE_SESSIONS) == 0);
}

static void a_session_stays_no_longer_than_its_client(void **state)
{
	(void)state;
	leave_an_answer_unread();
	close_client();
	AWAIT(held(RESOURCE_SESSIONS) == 0);
}

static void the_daemon_ends_without_its_answers_being_read(void **state)
{
	(void)state;
	leave_an_answer_unread();
	free_server();
}

/* Even if messages that are left in it hold the other end. */
static void a_socket_does_not_keep_itself_open(void **state)
{
	struct vdm_message_ring_create message = {
		.header = {VDM_MESSAGE_RING_CREATE, sizeof message}, .entries = 4};
	int result = 0;

	(void)state;
	greet();
	/* the second ends the session */
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(vdm_packet_send(client, &message.header, NULL, 0), 0);
	for (unsigned i = 0; i < 40 && !result; i++) /* more than are discarded at once */
		result = vdm_packet_send(client, &message.header, &client, 1);
	close_client();
	AWAIT(held(RESOURCE_SESSIONS) == 0);
}

/* A client that does not read its answers does not make the daemon wait. */
static void a_client_that_does_not_read_is_ended(void **state)
{
	struct vdm_message_ring_destroy message = {
		{VDM_MESSAGE_RING_DESTROY, sizeof message}, 1, 0};
	int result = 0;

	(void)state;
	greet();
	AWAIT((result = vdm_packet_send(client, &message.header, NULL, 0)) == -ENOTCONN);
	assert_true(is_hung_up(lease));
	assert_int_equal(violated(), 0);
	close_client();
	AWAIT(held(RESOURCE_SESSIONS) == 0);
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
	int region_fd;
	uint32_t region, ring;
	void *submission;
	struct vdm_packet created;
};

static void begin_copy(struct slow_copy *slow)
{
	const struct kernels kernels = {.copy = wait_and_copy};
	const size_t bytes = 64 << 10;

	slow->region_fd = memory_file(bytes);
	greet();
	assert_int_equal(add_region(slow->region_fd, bytes, 0, &slow->region), 0);
	assert_int_equal(make_ring(4, 0, &slow->created), 0);
	slow->submission = start_ring(&slow->created);
	slow->ring = slow->created.message.ring_created.ring;
	sem_init(&copy_began, 0, 0);
	sem_init(&copy_may_end, 0, 0);
	engine_set_kernels(server->house.engine, &kernels);

	struct vdm_descriptor *copy = vdm_descriptors(slow->submission);

	copy->opcode = VDM_OPCODE_MEMCPY;
	copy->destination_region = copy->source_region = slow->region;
	copy->source_offset = bytes / 2;
	copy->length = bytes / 2;
	atomic_store(&copy->sequence, 1);
	assert_int_equal(write(slow->created.fds[VDM_RING_FD_DOORBELL], "a bell.", 8), 8);
	sem_wait(&copy_began);
}

static void forget_copy(struct slow_copy *slow)
{
	const struct kernels standard = {NULL};

	engine_set_kernels(server->house.engine, &standard);
	vdm_packet_close(&slow->created);
	munmap(slow->submission, vdm_submission_size(4));
	close(slow->region_fd);
}

/* The clerk has begun to remove the ring of the only session. */
static bool ring_is_going(void)
{
	house_lock(&server->house);
	const struct session *session = TAILQ_FIRST(&server->house.sessions);
	bool going = session && LIST_EMPTY(&session->rings);

	house_unlock(&server->house);
	return going;
}

/* To a client the hang-up proves that nothing moves its bytes any more. */
static void a_session_hangs_up_when_nothing_is_in_progress_any_more(void **state)
{
	const struct vdm_message_header nonsense = {VDM_MESSAGE_WELCOME, sizeof nonsense};
	struct slow_copy copy;

	(void)state;
	begin_copy(&copy);
	assert_int_equal(vdm_packet_send(client, &nonsense, NULL, 0), 0);
	AWAIT(violated() == 1);
	AWAIT(ring_is_going());
	assert_false(is_hung_up(client));
	assert_false(is_hung_up(lease));
	sem_post(&copy_may_end);
	AWAIT(is_hung_up(client));
	assert_true(is_hung_up(lease)); /* which comes first */
	forget_copy(&copy);
}

/* So is the answer to a ring's or region's end, and later requests are answered after it. */
static void what_a_worker_uses_is_given_back_when_it_lets_go(void **state)
{
	const uint32_t types[] = {VDM_MESSAGE_RING_DESTROY, VDM_MESSAGE_REGION_REMOVE};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct vdm_message_ring_destroy end = {{types[i], sizeof end}, 0, 0};
		const struct vdm_message_status status = {
			.header = {VDM_MESSAGE_STATUS, sizeof status}};
		struct slow_copy copy;
		struct vdm_packet reply;

		begin_copy(&copy);
		end.ring = i == 0 ? copy.ring : copy.region;
		assert_int_equal(vdm_packet_send(client, &end.header, NULL, 0), 0);
		assert_int_equal(vdm_packet_send(client, &status.header, NULL, 0), 0);
		if (i == 0)
			AWAIT(ring_is_going());
		/* a broken daemon would answer within that time, or soon enough once */
		assert_int_equal(poll(&(struct pollfd){.fd = client, .events = POLLIN}, 1, 100), 0);
		assert_int_equal(held(i == 0 ? RESOURCE_RINGS : RESOURCE_REGIONS), 1);
		sem_post(&copy_may_end);
		assert_int_equal(receive_answer(&reply), 0);
		assert_int_equal(reply.message.header.type, VDM_MESSAGE_DONE);
		assert_int_equal(held(i == 0 ? RESOURCE_RINGS : RESOURCE_REGIONS), 0);
		assert_int_equal(receive_answer(&reply), 0);
		assert_int_equal(reply.message.header.type, VDM_MESSAGE_STATUS_REPLY);
		forget_copy(&copy);
		next_client();
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
	AWAIT(ring_is_going());
	close(client);
	client = -1;
	assert_int_equal(held(RESOURCE_SESSIONS), 1);
	assert_false(is_hung_up(lease));
	sem_post(&copy_may_end);
	AWAIT(is_hung_up(lease));
	AWAIT(held(RESOURCE_SESSIONS) == 0);
	forget_copy(&copy);
}

/* Other users, and other sessions of the same user, are not its hostages. */
static void a_porter_that_is_killed_takes_its_sessions_along(void **state)
{
	struct slow_copy copy;
	pid_t killed;

	(void)state;
	begin_copy(&copy);
	killed = porter_pid();
	kill(killed, SIGKILL);
	AWAIT(is_hung_up(client));
	assert_false(is_hung_up(lease)); /* it is not the porter's */
	sem_post(&copy_may_end);
	AWAIT(is_hung_up(lease));
	forget_copy(&copy);
	next_client(); /* gets another */
	greet();
	assert_int_not_equal(porter_pid(), killed);
	assert_int_equal(violated(), 0);
}

static bool user_has_clerk(void)
{
	house_lock(&server->house);
	bool has = LIST_FIRST(&server->house.users.list)->clerk;

	house_unlock(&server->house);
	return has;
}

static void clerk_and_porter_leave_some_time_after_the_last_session(void **state)
{
	const pid_t first = porter_pid();

	(void)state;
	greet();
	assert_true(user_has_clerk());
	next_client(); /* comes before that */
	greet();
	if (first)
		assert_int_equal(porter_pid(), first);
	close_client();
	AWAIT(!user_has_clerk());
	AWAIT(porter_pid() == 0);
	connect_client();
	greet();
	assert_true(user_has_clerk());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(greetings),
		TEST(a_greeting_of_another_version_is_refused_with_advice),
		TEST(the_greeting_says_what_the_client_is_called),
		TEST(violations_end_the_session),
		TEST(messages_of_another_length_end_the_session),
		TEST(surplus_descriptors_are_closed),
		TEST(limits_of_a_user_hold_over_his_sessions),
		TEST(sessions_of_a_user_are_limited),
		TEST(a_user_gets_half_of_all_sessions),
		TEST(handshakes_of_a_user_are_limited),
		TEST(status_tells_of_sessions_a_few_at_a_time),
		TEST(answers_with_descriptors_have_to_be_read),
		TEST(a_session_stays_until_all_its_answers_are_read),
		TEST(a_session_stays_no_longer_than_its_client),
		TEST(the_daemon_ends_without_its_answers_being_read),
		TEST(a_socket_does_not_keep_itself_open),
		TEST(a_client_that_does_not_read_is_ended),
		TEST(a_session_hangs_up_when_nothing_is_in_progress_any_more),
		TEST(what_a_worker_uses_is_given_back_when_it_lets_go),
		TEST(a_session_may_end_while_it_waits),
		TEST(a_porter_that_is_killed_takes_its_sessions_along),
		TEST(clerk_and_porter_leave_some_time_after_the_last_session),
	};

	return cmocka_run_group_tests(tests, start_spawner, stop_spawner);
}
