/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon/clerk.c against porters that their users have taken over: the test plays the spawner and
 * the porters. Whatever a porter says or leaves out, other users' sessions are none the worse, and
 * in the end nothing is left.
 */
#include "daemon/clerk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "await.h"
#include "daemon/log.h"
#include "daemon/server.h"
#include "daemon/session.h"
#include "proto/passing.h"
#include "proto/porter.h"

/* Bytes of a message to the daemon before that of the client. */
#define LEAST offsetof(struct porter_message, message)

static struct server *server;
static int requests;     /* for porters, to the spawner */
static int refusals_end; /* as above, to be told and hung up on */
static unsigned fds_before;

/* A porter that the test plays. Its descriptors are the test's. */
struct puppet {
	struct user *user;
	struct clerk *clerk;
	int socket;
	pid_t process;
};

/* What a porter has of a session. */
struct visitor {
	uint64_t session;
	int client, socket, lease;
};

static struct puppet alice, bob;
static struct visitor of_alice, of_bob;

/* Not in <signal.h> of older C libraries. A process with the descriptors of this one. */
static pid_t start_process(void)
{
	pid_t child = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);

	if (child == 0) {
		syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		for (;;)
			syscall(SYS_pause);
	}
	assert_true(child > 0);
	return child;
}

/* Returns -ENOTCONN at the end. Waits. */
static int receive(const struct puppet *puppet, struct porter_message *message, int fds[4],
		   unsigned *count)
{
	struct passing passing = {
		.bytes = message, .size = sizeof *message, .fds = fds, .fd_count = 4};
	int result;

	memset(message, 0, sizeof *message);
	if (!await_input(puppet->socket))
		fail_msg("the clerk says nothing");
	result = passing_receive(puppet->socket, &passing, MSG_DONTWAIT);
	*count = result ? 0 : passing.fd_count;
	return !result && passing.size == 0 ? -ENOTCONN : result;
}

static void expect(const struct puppet *puppet, enum porter_message_type type, uint64_t session,
		   struct porter_message *message)
{
	unsigned count;
	int fds[4];

	assert_int_equal(receive(puppet, message, fds, &count), 0);
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
	assert_int_equal(message->type, type);
	assert_int_equal(message->session, session);
}

static void tell_bytes(const struct puppet *puppet, const struct porter_message *message,
		       size_t size)
{
	assert_int_equal(passing_send(puppet->socket, message, size, NULL, 0, 0), 0);
}

static void tell(const struct puppet *puppet, enum porter_message_type type, uint64_t session,
		 int value)
{
	const struct porter_message message = {
		.type = type, .session = session, .value = value, .command = "puppet"};

	tell_bytes(puppet, &message, porter_message_size(&message));
}

static struct porter_message request(const struct visitor *visitor, uint32_t type)
{
	return (struct porter_message){.type = PORTER_REQUEST,
				       .session = visitor->session,
				       .value = -1,
				       .message.header = {type, vdm_request(type)->size}};
}

/* Returns the error of a refusal, or 0 and stores the answer. */
static int ask(const struct puppet *puppet, const struct porter_message *message,
	       struct porter_message *answer)
{
	tell_bytes(puppet, message, porter_message_size(message));
	expect(puppet, PORTER_ANSWER, message->session, answer);
	return answer->message.header.type == VDM_MESSAGE_REFUSED ? answer->message.refused.error
								  : 0;
}

/* The clerk has come to all that the porter has said. */
static void synchronize(const struct puppet *puppet, const struct visitor *visitor)
{
	const struct porter_message status = request(visitor, VDM_MESSAGE_STATUS);
	struct porter_message answer;

	assert_int_equal(ask(puppet, &status, &answer), 0);
	assert_int_equal(answer.message.header.type, VDM_MESSAGE_STATUS_REPLY);
}

static uint64_t held(enum resource resource)
{
	house_lock(&server->house);
	const uint64_t used = server->house.users.book.used[resource];

	house_unlock(&server->house);
	return used;
}

static uint64_t violated(void)
{
	house_lock(&server->house);
	const uint64_t count = server->house.violated;

	house_unlock(&server->house);
	return count;
}

/* Its first message comes from the spawner. */
static void give_birth(const struct puppet *puppet)
{
	const struct porter_message born = {.type = PORTER_BORN, .value = puppet->process};
	char path[32];

	snprintf(path, sizeof path, "/proc/%d", (int)puppet->process);

	const int fds[PORTER_BORN_FDS] = {
		[PORTER_BORN_DIRECTORY] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		[PORTER_BORN_PIDFD] = (int)syscall(SYS_pidfd_open, puppet->process, 0)};

	int result = passing_send(puppet->socket, &born, sizeof born, fds, PORTER_BORN_FDS, 0);

	for (unsigned i = 0; i < PORTER_BORN_FDS; i++)
		close(fds[i]);
	assert_true(result == 0 || result == -EPERM); /* a second time, since Linux 6.16 */
}

/* It has not been born yet. */
static void engage(struct puppet *puppet, uid_t uid)
{
	char byte, text[VDM_REFUSAL_TEXT];
	struct passing passing = {.bytes = &byte, .size = 1, .fds = &puppet->socket, .fd_count = 1};

	house_lock(&server->house);
	assert_int_equal(user_get(&server->house.users, uid, &puppet->user, text), 0);
	assert_int_equal(clerk_start(&server->house, puppet->user, &puppet->clerk), 0);
	user_put(puppet->user);
	house_unlock(&server->house);
	assert_int_equal(passing_receive(requests, &passing, 0), 0);
	assert_int_equal(passing.fd_count, 1);
	puppet->process = start_process();
}

static void employ(struct puppet *puppet, uid_t uid)
{
	engage(puppet, uid);
	give_birth(puppet);
}

/* A client connects. */
static int admit(const struct puppet *puppet, int *client)
{
	const struct log_peer peer = {
		.limit = &puppet->user->log_limit, .pid = 1, .uid = puppet->user->uid};
	char text[VDM_REFUSAL_TEXT];
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
				    ends),
			 0);
	*client = ends[0];
	house_lock(&server->house);
	int result = clerk_admit(puppet->clerk, &peer, ends[1], text);

	house_unlock(&server->house);
	return result;
}

static void receive_visitor(const struct puppet *puppet, struct visitor *visitor)
{
	struct porter_message message;
	unsigned count;
	int fds[4];

	assert_int_equal(receive(puppet, &message, fds, &count), 0);
	assert_int_equal(message.type, PORTER_VISITOR);
	assert_int_equal(count, PORTER_VISITOR_FDS);
	visitor->session = message.session;
	visitor->socket = fds[PORTER_VISITOR_SOCKET];
	visitor->lease = fds[PORTER_VISITOR_LEASE];
}

static void visit(const struct puppet *puppet, struct visitor *visitor)
{
	assert_int_equal(admit(puppet, &visitor->client), 0);
	receive_visitor(puppet, visitor);
}

static void close_if_open(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void forget_visitor(struct visitor *visitor)
{
	close_if_open(&visitor->client);
	close_if_open(&visitor->socket);
	close_if_open(&visitor->lease);
}

/* It has no clerk any more. */
static void dismiss(struct puppet *puppet)
{
	close_if_open(&puppet->socket);
	if (puppet->process > 0) {
		kill(puppet->process, SIGKILL);
		waitpid(puppet->process, NULL, 0);
	}
	puppet->process = 0;
}

static bool has_clerk(const struct puppet *puppet)
{
	house_lock(&server->house);
	bool has = puppet->user->clerk;

	house_unlock(&server->house);
	return has;
}

static bool all_clerks_are_gone(void)
{
	house_lock(&server->house);
	bool gone = LIST_EMPTY(&server->house.clerks);

	house_unlock(&server->house);
	return gone;
}

static int set_up(void **state)
{
	int porters[2], refusals[2];
	struct config config;

	(void)state;
	log_set_level(LOG_CRIT);
	fds_before = count_fds_of(getpid());
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, porters), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, refusals), 0);

	const struct spawner spawner = {.births = porters[0], .refusals = refusals[0]};

	requests = porters[1];
	refusals_end = refusals[1];
	config_defaults(&config);
	config.workers = 1;
	assert_int_equal(server_new(&config, &spawner, &server), 0);
	employ(&alice, 1);
	employ(&bob, 2);
	visit(&alice, &of_alice);
	visit(&bob, &of_bob);
	tell(&bob, PORTER_OPENED, of_bob.session, 0);
	return 0;
}

static const struct session *find_session(uint64_t number)
{
	const struct session *session;

	TAILQ_FOREACH(session, &server->house.sessions, entry)
		if (session->number == number)
			return session;
	return NULL;
}

/* After all that the other user has done. */
static void expect_bob_to_be_well(void)
{
	const struct session *session;

	synchronize(&bob, &of_bob);
	assert_false(is_hung_up(of_bob.lease));
	assert_false(is_hung_up(of_bob.client));
	house_lock(&server->house);
	session = find_session(of_bob.session);
	assert_non_null(session);
	assert_string_equal(session->peer.command, "puppet");
	assert_int_equal(session->book.used[RESOURCE_RINGS], 0);
	house_unlock(&server->house);
}

static int tear_down_without_bob(void **state)
{
	(void)state;
	close_if_open(&alice.socket);
	close_if_open(&bob.socket);
	AWAIT(held(RESOURCE_SESSIONS) == 0);
	for (unsigned i = 0; i < RESOURCE_COUNT; i++)
		assert_int_equal(held(i), 0);
	AWAIT(all_clerks_are_gone());
	forget_visitor(&of_alice);
	forget_visitor(&of_bob);
	dismiss(&alice);
	dismiss(&bob);
	server_free(server);
	close(requests);
	close(refusals_end);
	AWAIT(count_fds_of(getpid()) == fds_before);
	return 0;
}

static int tear_down(void **state)
{
	expect_bob_to_be_well();
	return tear_down_without_bob(state);
}

static void create_ring(void)
{
	struct porter_message message = request(&of_alice, VDM_MESSAGE_RING_CREATE), answer;

	message.message.ring_create.entries = 4;
	assert_int_equal(ask(&alice, &message, &answer), 0);
}

/* Returns the error of the refusal, or 0. */
static int add_region(int fd, uint32_t flags)
{
	struct porter_message message = request(&of_alice, VDM_MESSAGE_REGION_ADD), answer;

	message.message.region_add.size = 4096;
	message.message.region_add.flags = flags;
	message.value = fd;
	return ask(&alice, &message, &answer);
}

static int memory_file(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(fallocate(fd, 0, 0, 4096), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	return fd;
}

static void hold_a_region(void)
{
	int fd = memory_file();

	assert_int_equal(add_region(fd, 0), 0);
	close(fd);
}

static void hold_something(void)
{
	create_ring();
	hold_a_region();
	assert_int_equal(held(RESOURCE_RINGS), 1);
	assert_int_equal(held(RESOURCE_REGIONS), 1);
}

static void what_an_honest_porter_does(void **state)
{
	struct porter_message message;

	(void)state;
	tell(&alice, PORTER_OPENED, of_alice.session, 0);
	hold_something();
	tell(&alice, PORTER_LEFT, of_alice.session, PORTER_CLIENT_LEFT);
	/* the messages in the ring's doorbell are the porter's to receive */
	expect(&alice, PORTER_BELL, of_alice.session, &message);
	assert_int_equal(message.value, 0);
	expect(&alice, PORTER_HANG_UP, of_alice.session, &message);
	assert_true(is_hung_up(of_alice.lease));
	assert_int_equal(held(RESOURCE_RINGS), 0);
	assert_int_equal(held(RESOURCE_REGIONS), 0);
	assert_int_equal(held(RESOURCE_SESSIONS), 2);
	tell(&alice, PORTER_GONE, of_alice.session, 0);
	AWAIT(held(RESOURCE_SESSIONS) == 1);
	assert_int_equal(violated(), 0);
}

/* A porter has its own user's sessions, and no others. */
static void sessions_of_others_are_out_of_reach(void **state)
{
	const uint64_t numbers[] = {of_bob.session, 0, 1000, of_bob.session + (1ull << 32),
				    UINT64_MAX};

	(void)state;
	for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		const struct visitor other = {.session = numbers[i]};
		struct porter_message ring = request(&other, VDM_MESSAGE_RING_CREATE),
				      hello = request(&other, VDM_MESSAGE_HELLO);
		const struct porter_message opened = {
			.type = PORTER_OPENED, .session = numbers[i], .command = "forged"};

		ring.message.ring_create.entries = 4;
		tell_bytes(&alice, &opened, porter_message_size(&opened));
		tell_bytes(&alice, &ring, porter_message_size(&ring));
		tell_bytes(&alice, &hello, porter_message_size(&hello));
		tell(&alice, PORTER_LEFT, numbers[i], PORTER_MALFORMED);
		tell(&alice, PORTER_GONE, numbers[i], 0);
	}
	synchronize(&alice, &of_alice); /* and nothing else has been said */
	assert_int_equal(violated(), 0);
	assert_int_equal(held(RESOURCE_SESSIONS), 2);
	/* and tear_down() looks after the other user */
}

/* End the session, and begin another. */
static void next_session(void)
{
	tell(&alice, PORTER_GONE, of_alice.session, 0);
	AWAIT(held(RESOURCE_SESSIONS) == 1);
	assert_true(is_hung_up(of_alice.lease));
	forget_visitor(&of_alice);
	visit(&alice, &of_alice);
}

static void what_is_no_request_ends_the_session(void **state)
{
	static const uint32_t types[] = {0,
					 VDM_MESSAGE_HELLO,
					 VDM_MESSAGE_WELCOME,
					 VDM_MESSAGE_STATUS_REPLY,
					 VDM_MESSAGE_REFUSED,
					 VDM_MESSAGE_TYPE_COUNT,
					 INT_MAX,
					 UINT32_MAX};
	struct porter_message message;

	(void)state;
	for (unsigned i = 0; i < sizeof types / sizeof *types; i++) {
		message = (struct porter_message){
			.type = PORTER_REQUEST,
			.session = of_alice.session,
			.message.header = {types[i], sizeof message.message}};
		tell_bytes(&alice, &message, sizeof message);
		expect(&alice, PORTER_HANG_UP, of_alice.session, &message);
		assert_int_equal(violated(), i + 1);
		next_session();
	}
}

static void requests_that_are_cut_short_end_the_session(void **state)
{
	static const uint32_t types[] = {VDM_MESSAGE_RING_CREATE,   VDM_MESSAGE_RING_START,
					 VDM_MESSAGE_RING_DESTROY,  VDM_MESSAGE_REGION_ADD,
					 VDM_MESSAGE_REGION_REMOVE, VDM_MESSAGE_STATUS};
	unsigned violations = 0;

	(void)state;
	for (unsigned i = 0; i < sizeof types / sizeof *types; i++) {
		const size_t sizes[] = {0, 1, 8, vdm_request(types[i])->size - 1};

		for (unsigned k = 0; k < sizeof sizes / sizeof *sizes; k++) {
			struct porter_message message = request(&of_alice, types[i]);

			tell_bytes(&alice, &message, LEAST + sizes[k]);
			expect(&alice, PORTER_HANG_UP, of_alice.session, &message);
			assert_int_equal(violated(), ++violations);
			next_session();
		}
	}
}

static void messages_of_other_sizes_and_types_are_ignored(void **state)
{
	struct porter_message message = request(&of_alice, VDM_MESSAGE_STATUS);
	char large[2 * sizeof message] = {0};

	(void)state;
	for (size_t size = 1; size < LEAST; size++)
		tell_bytes(&alice, &message, size);
	for (uint32_t type = 0; type < 100; type++)
		if (type < PORTER_OPENED || type > PORTER_GONE)
			tell(&alice, type, of_alice.session, 0);
	tell(&alice, UINT32_MAX, of_alice.session, 0);
	give_birth(&alice); /* once more */
	synchronize(&alice, &of_alice);
	/* what is longer is cut off */
	message.message.header.size = UINT32_MAX;
	memcpy(large, &message, sizeof message);
	assert_int_equal(passing_send(alice.socket, large, sizeof large, NULL, 0, 0), 0);
	expect(&alice, PORTER_ANSWER, of_alice.session, &message);
	assert_int_equal(violated(), 0);
}

/* It looks like the end of the connection. */
static void an_empty_message_ends_the_porter(void **state)
{
	(void)state;
	hold_something();
	assert_int_equal(passing_send(alice.socket, "", 0, NULL, 0, 0), 0);
	AWAIT(!has_clerk(&alice));
	AWAIT(is_hung_up(of_alice.lease));
	AWAIT(held(RESOURCE_SESSIONS) == 1);
}

static void requests_before_an_answer_are_answered_one_by_one(void **state)
{
	const struct porter_message status = request(&of_alice, VDM_MESSAGE_STATUS);
	struct porter_message answer;

	(void)state;
	for (unsigned i = 0; i < 50; i++)
		tell_bytes(&alice, &status, porter_message_size(&status));
	for (unsigned i = 0; i < 50; i++)
		expect(&alice, PORTER_ANSWER, of_alice.session, &answer);
}

/* What is answered without a pause, again and again. */
static struct porter_message sessions_request(void)
{
	struct porter_message status = request(&of_alice, VDM_MESSAGE_STATUS);

	status.message.status.after = 1;
	return status;
}

/* Say it until there is no room, for the clerk waits for the porter to have room. */
static void say_until_full(const struct porter_message *message)
{
	struct pollfd room = {.fd = alice.socket, .events = POLLOUT};
	int result = 0;

	do {
		while (result == 0)
			result = passing_send(alice.socket, message, porter_message_size(message),
					      NULL, 0, MSG_DONTWAIT);
		assert_int_equal(result, -EAGAIN);
		result = 0;
	} while (poll(&room, 1, 200) == 1);
}

/* The clerk waits then, and its user with it, and no other user. */
static void a_porter_that_does_not_read_keeps_its_own_user_waiting(void **state)
{
	const struct porter_message status = sessions_request();

	(void)state;
	say_until_full(&status);
	expect_bob_to_be_well();
	/* and the end of the porter ends that */
}

static void the_daemon_ends_without_its_porters(void **state)
{
	const struct porter_message status = sessions_request();

	(void)state;
	say_until_full(&status);
	house_lock(&server->house);
	server->house.stopping = true;
	clerks_stop(&server->house);
	house_unlock(&server->house);
	AWAIT(all_clerks_are_gone());
	assert_int_equal(held(RESOURCE_SESSIONS), 0);
	assert_true(is_hung_up(of_alice.lease));
	assert_true(is_hung_up(of_bob.lease));
}

static void allow_sessions(struct user *user, unsigned count)
{
	house_lock(&server->house);
	user->settings.limits.sessions_per_user = count;
	user->settings.limits.descriptors_per_user = UINT64_MAX;
	for (unsigned i = 0; i < RESOURCE_COUNT; i++)
		server->house.users.totals.limit[i] = UINT64_MAX;
	house_unlock(&server->house);
}

/* There is room for some only: the others come when the porter reads. */
static void visitors_wait_until_the_porter_has_room(void **state)
{
	enum { VISITORS = 400 };
	static struct visitor visitors[VISITORS];

	(void)state;
	allow_sessions(alice.user, VISITORS + 1);
	for (unsigned i = 0; i < VISITORS; i++)
		assert_int_equal(admit(&alice, &visitors[i].client), 0);
	house_lock(&server->house);
	assert_true(find_session(of_bob.session + VISITORS)->arrives);
	house_unlock(&server->house);
	for (unsigned i = 0; i < VISITORS; i++) {
		receive_visitor(&alice, &visitors[i]);
		assert_int_equal(visitors[i].session, of_bob.session + i + 1);
	}
	for (unsigned i = 0; i < VISITORS; i++) {
		tell(&alice, PORTER_GONE, visitors[i].session, 0);
		forget_visitor(&visitors[i]);
	}
	AWAIT(held(RESOURCE_SESSIONS) == 2);
}

/* Discard messages to the porter until there have been none for a while, or `said` can be sent. */
static void read_answers(const struct porter_message *said)
{
	struct pollfd event = {.fd = alice.socket, .events = POLLIN};
	struct porter_message message;
	unsigned count;
	int fds[4];

	while (poll(&event, 1, 200) == 1) {
		assert_int_equal(receive(&alice, &message, fds, &count), 0);
		for (unsigned i = 0; i < count; i++)
			close(fds[i]);
		assert_true(message.type == PORTER_ANSWER || message.type == PORTER_VISITOR);
		if (said && passing_send(alice.socket, said, porter_message_size(said), NULL, 0,
					 MSG_DONTWAIT) == 0)
			return;
	}
	assert_null(said);
}

/* By a porter that guesses the number. */
static void a_visitor_may_be_gone_before_the_porter_knows_of_it(void **state)
{
	const struct porter_message status = sessions_request(),
				    gone = {.type = PORTER_GONE, .session = of_bob.session + 1};
	int client;

	(void)state;
	say_until_full(&status);
	assert_int_equal(admit(&alice, &client), 0);
	house_lock(&server->house);
	assert_true(find_session(gone.session)->arrives);
	house_unlock(&server->house);
	read_answers(&gone);
	read_answers(NULL);
	AWAIT(held(RESOURCE_SESSIONS) == 2);
	assert_true(is_hung_up(client));
	close(client);
	synchronize(&alice, &of_alice);
}

/* What a session holds is given back, in whatever state it is. */
static void a_session_may_be_gone_without_having_been_hung_up(void **state)
{
	(void)state;
	next_session(); /* nothing has been said of it */
	tell(&alice, PORTER_OPENED, of_alice.session, 0);
	next_session();
	hold_something();
	tell(&alice, PORTER_GONE, of_alice.session, 0);
	AWAIT(held(RESOURCE_SESSIONS) == 1);
	assert_true(is_hung_up(of_alice.lease));
	assert_int_equal(held(RESOURCE_RINGS), 0);
	assert_int_equal(held(RESOURCE_REGIONS), 0);
	/* and what follows is about no session */
	tell(&alice, PORTER_GONE, of_alice.session, 0);
	tell(&alice, PORTER_LEFT, of_alice.session, PORTER_MALFORMED);
}

/* A violation is counted once, however often it is told. */
static void a_session_leaves_once(void **state)
{
	struct porter_message ring = request(&of_alice, VDM_MESSAGE_RING_CREATE), message;

	(void)state;
	ring.message.ring_create.entries = 4;
	for (unsigned i = 0; i < 5; i++) {
		tell(&alice, PORTER_LEFT, of_alice.session, PORTER_MALFORMED);
		tell_bytes(&alice, &ring, porter_message_size(&ring));
	}
	expect(&alice, PORTER_HANG_UP, of_alice.session, &message);
	tell(&alice, PORTER_GONE, of_alice.session, 0);
	AWAIT(held(RESOURCE_SESSIONS) == 1);
	assert_int_equal(violated(), 1);
	/* the porter has been told nothing else */
	forget_visitor(&of_alice);
	visit(&alice, &of_alice);
}

static void reasons_that_do_not_exist_are_no_violations(void **state)
{
	static const int32_t reasons[] = {-1,
					  INT_MIN,
					  INT_MAX,
					  PORTER_REASON_COUNT,
					  PORTER_CLIENT_LEFT,
					  PORTER_CLIENT_DEAF,
					  PORTER_NO_DESCRIPTORS};
	struct porter_message message;

	(void)state;
	for (unsigned i = 0; i < sizeof reasons / sizeof *reasons; i++) {
		tell(&alice, PORTER_LEFT, of_alice.session, reasons[i]);
		expect(&alice, PORTER_HANG_UP, of_alice.session, &message);
		next_session();
	}
	assert_int_equal(violated(), 0);
}

/* None enters this process. */
static void descriptors_of_a_porter_are_closed(void **state)
{
	const struct porter_message opened = {.type = PORTER_OPENED, .session = of_alice.session};
	unsigned before;
	int ends[2];

	(void)state;
	synchronize(&alice, &of_alice);
	expect_bob_to_be_well();
	before = count_fds_of(getpid());
	for (unsigned count = 1; count <= 4; count++) {
		assert_int_equal(pipe(ends), 0);
		const int fds[] = {ends[1], ends[1], ends[1], ends[1]};

		int result = passing_send(alice.socket, &opened, porter_message_size(&opened), fds,
					  count, 0);

		assert_true(result == 0 || result == -EPERM); /* since Linux 6.16 */
		synchronize(&alice, &of_alice);
		close(ends[1]);
		assert_true(is_hung_up(ends[0]));
		close(ends[0]);
	}
	/* an engine opens one when it comes to that: a leak would be of ten */
	assert_true(count_fds_of(getpid()) <= before + 1);
}

/* Opens nothing that clients can make slow, or of which they would not be charged for the pages. */
static void what_is_no_memfd_is_refused(void **state)
{
	int file = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), ends[2], pipes[2];
	unsigned before;

	(void)state;
	synchronize(&alice, &of_alice);
	expect_bob_to_be_well();
	before = count_fds_of(getpid());
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	if (file >= 0)
		assert_int_equal(fallocate(file, 0, 0, 4096), 0);

	const int fds[] = {
		file,
		open("/dev/zero", O_RDWR),
		open("/dev/shm", O_RDONLY | O_DIRECTORY),
		open("/proc/self/mem", O_RDWR),
		open("/proc/self/exe", O_RDONLY),
		open("/proc/self/status", O_PATH),
		pipes[0],
		pipes[1],
		ends[0],
		eventfd(0, 0),
		epoll_create1(0),
		alice.socket,
	};

	for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++) {
		if (fds[i] < 0)
			continue;
		assert_int_equal(add_region(fds[i], 0), -EMEDIUMTYPE);
		assert_int_equal(add_region(fds[i], VDM_REGION_READ_ONLY), -EMEDIUMTYPE);
		if (fds[i] != alice.socket)
			close(fds[i]);
	}
	close(ends[1]);
	assert_int_equal(held(RESOURCE_REGIONS), 0);
	/* an engine opens one when it comes to that: a leak would be of many */
	assert_true(count_fds_of(getpid()) <= before + 1);
}

static void numbers_of_no_descriptor_are_refused(void **state)
{
	static const int numbers[] = {-1, INT_MIN, INT_MAX, 9999};

	(void)state;
	for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
		assert_int_equal(add_region(numbers[i], 0), -ENOENT);
	assert_int_equal(held(RESOURCE_REGIONS), 0);
}

static int open_again(int fd, int mode)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return open(path, mode | O_CLOEXEC);
}

static void a_region_is_not_writable_if_the_descriptor_is_not(void **state)
{
	int writable = memory_file(), read_only = open_again(writable, O_RDONLY),
	    write_only = open_again(writable, O_WRONLY), name = open_again(writable, O_PATH);

	(void)state;
	assert_int_equal(add_region(read_only, 0), -EACCES);
	assert_int_equal(add_region(write_only, 0), -EACCES);
	assert_int_equal(add_region(write_only, VDM_REGION_READ_ONLY), -EACCES);
	assert_int_equal(add_region(name, VDM_REGION_READ_ONLY), -EACCES);
	assert_int_equal(add_region(read_only, VDM_REGION_READ_ONLY), 0);
	/* the file is a region already, by whatever descriptor */
	assert_int_equal(add_region(writable, 0), -EEXIST);
	close(writable);
	close(read_only);
	close(write_only);
	close(name);
}

static void a_sealed_file_is_not_opened_for_writing(void **state)
{
	int file = memory_file();

	(void)state;
	assert_int_equal(fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	assert_int_equal(add_region(file, 0), -EACCES);
	close(file);
}

/* However far it has come. */
static void a_porter_may_hang_up_at_any_point(void **state)
{
	(void)state;
	for (unsigned last = 0; last < 8; last++) {
		unsigned step = 0;
		const struct porter_message status = request(&of_alice, VDM_MESSAGE_STATUS);
		struct porter_message ring = request(&of_alice, VDM_MESSAGE_RING_CREATE), answer;

		ring.message.ring_create.entries = 4;
		if (step++ < last)
			tell(&alice, PORTER_OPENED, of_alice.session, 0);
		if (step++ < last)
			assert_int_equal(ask(&alice, &ring, &answer), 0);
		if (step++ < last)
			tell_bytes(&alice, &ring, porter_message_size(&ring));
		if (step++ < last) {
			expect(&alice, PORTER_ANSWER, of_alice.session, &answer);
			hold_a_region();
		}
		if (step++ < last)
			tell_bytes(&alice, &status, porter_message_size(&status));
		if (step++ < last)
			tell(&alice, PORTER_LEFT, of_alice.session, PORTER_MALFORMED);
		if (step++ < last)
			tell(&alice, PORTER_GONE, of_alice.session, 0);
		dismiss(&alice);
		AWAIT(held(RESOURCE_SESSIONS) == 1);
		AWAIT(!has_clerk(&alice));
		assert_true(is_hung_up(of_alice.lease));
		assert_int_equal(held(RESOURCE_RINGS), 0);
		forget_visitor(&of_alice);
		employ(&alice, 1);
		visit(&alice, &of_alice);
	}
}

/* Or a user could fill the system with porters that it has taken over, one after the other. */
static void a_porter_does_not_survive_its_clerk(void **state)
{
	int status;

	(void)state;
	close_if_open(&alice.socket); /* and goes on running */
	AWAIT(held(RESOURCE_SESSIONS) == 1);
	AWAIT(waitpid(alice.process, &status, WNOHANG) == alice.process);
	assert_true(WIFSIGNALED(status));
	alice.process = 0;
}

/* The descriptor that its parent sends is the only one that enters this process. */
static void a_porter_says_nothing_before_its_birth(void **state)
{
	const enum porter_message_type types[] = {PORTER_BORN, PORTER_OPENED};
	struct puppet carol;
	int ends[2], client;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const struct porter_message message = {.type = types[i]};

		engage(&carol, 3);
		assert_int_equal(admit(&carol, &client), 0);
		assert_int_equal(pipe(ends), 0);
		if (types[i] == PORTER_BORN) /* without descriptors */
			tell_bytes(&carol, &message, sizeof message);
		else
			assert_int_equal(passing_send(carol.socket, &message, sizeof message,
						      &ends[1], 1, 0),
					 0);
		AWAIT(is_hung_up(carol.socket));
		close(ends[1]);
		AWAIT(is_hung_up(ends[0]));
		close(ends[0]);
		AWAIT(!has_clerk(&carol));
		dismiss(&carol);
		close(client);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(what_an_honest_porter_does),
		TEST(sessions_of_others_are_out_of_reach),
		TEST(what_is_no_request_ends_the_session),
		TEST(requests_that_are_cut_short_end_the_session),
		TEST(messages_of_other_sizes_and_types_are_ignored),
		TEST(an_empty_message_ends_the_porter),
		TEST(requests_before_an_answer_are_answered_one_by_one),
		TEST(a_porter_that_does_not_read_keeps_its_own_user_waiting),
		TEST(visitors_wait_until_the_porter_has_room),
		TEST(a_visitor_may_be_gone_before_the_porter_knows_of_it),
		TEST(a_session_may_be_gone_without_having_been_hung_up),
		TEST(a_session_leaves_once),
		TEST(reasons_that_do_not_exist_are_no_violations),
		TEST(descriptors_of_a_porter_are_closed),
		TEST(what_is_no_memfd_is_refused),
		TEST(numbers_of_no_descriptor_are_refused),
		TEST(a_region_is_not_writable_if_the_descriptor_is_not),
		TEST(a_sealed_file_is_not_opened_for_writing),
		TEST(a_porter_may_hang_up_at_any_point),
		TEST(a_porter_does_not_survive_its_clerk),
		TEST(a_porter_says_nothing_before_its_birth),
		cmocka_unit_test_setup_teardown(the_daemon_ends_without_its_porters, set_up,
						tear_down_without_bob),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
