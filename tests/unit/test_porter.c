/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon/porter.c, daemon/visit.c and daemon/porter_jail.c: a real porter in a child process,
 * between a daemon and clients that the test plays. test_session has what clients do wrong.
 */
#include "daemon/porter.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "await.h"
#include "daemon/porter_jail.h"
#include "proto/passing.h"
#include "proto/porter.h"

struct porter_process {
	int socket; /* the daemon's end */
	pid_t pid;
};

/* A client, and what the daemon keeps of it: a copy of the porter's socket, and the lease. */
struct guest {
	uint64_t session;
	int client, copy, lease;
};

static struct porter_process porter, patient;
static struct guest guest, silent;

/* While it is not zero, whatever porters do takes a second of their CPU time. */
static _Atomic int *slow_calls;

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = __real_clock_gettime(clock, now);

	if (clock == CLOCK_THREAD_CPUTIME_ID && slow_calls && *slow_calls > 0)
		now->tv_sec += (*slow_calls)++;
	return result;
}

static void open_pair(int ends[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
				    ends),
			 0);
}

static void start_porter(struct porter_process *started)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	started->pid = fork();
	if (started->pid == 0) {
		for (int fd = STDERR_FILENO + 1; fd < 1024; fd++)
			if (fd != ends[1])
				close(fd);
		porter_main(ends[1]);
	}
	assert_true(started->pid > 0);
	close(ends[1]);
	started->socket = ends[0];
}

/* It has nothing else to do. */
static void stop_porter(struct porter_process *stopped)
{
	int status;

	close(stopped->socket);
	AWAIT(waitpid(stopped->pid, &status, WNOHANG) == stopped->pid);
	assert_true(WIFEXITED(status));
}

static void tell(const struct porter_message *message, const int *fds, unsigned count)
{
	assert_int_equal(passing_send(porter.socket, message, porter_message_size(message), fds,
				      count, 0),
			 0);
}

static void tell_of(uint64_t session, enum porter_message_type type)
{
	const struct porter_message message = {.type = type, .session = session};

	tell(&message, NULL, 0);
}

/* What the porter says next. */
static struct porter_message listen_to(const struct porter_process *speaker)
{
	struct porter_message message = {0};
	struct passing passing = {.bytes = &message, .size = sizeof message};

	if (!await_input(speaker->socket))
		fail_msg("the porter says nothing");
	assert_int_equal(passing_receive(speaker->socket, &passing, MSG_DONTWAIT), 0);
	assert_int_equal(passing.flags, 0);
	assert_true(passing.size > 0);
	return message;
}

static struct porter_message expect(enum porter_message_type type, uint64_t session)
{
	const struct porter_message message = listen_to(&porter);

	assert_int_equal(message.type, type);
	assert_int_equal(message.session, session);
	return message;
}

static void expect_leave(uint64_t session, enum porter_reason reason)
{
	assert_int_equal(expect(PORTER_LEFT, session).value, reason);
}

/* Send a client, whose ends of the connection these are, to a porter. */
static void introduce(const struct porter_process *host, struct guest *visitor,
		      const int connection[2], pid_t pid)
{
	static uint64_t sessions;
	const struct porter_message message = {
		.type = PORTER_VISITOR,
		.session = ++sessions,
		.value = pid,
		.welcome = {.header = {VDM_MESSAGE_WELCOME, sizeof message.welcome},
			    .version = VDM_PROTOCOL_VERSION,
			    .workers = 7}};
	int leases[2];

	open_pair(leases);

	const int fds[] = {connection[1], leases[1]};

	assert_int_equal(passing_send(host->socket, &message, porter_message_size(&message), fds, 2,
				      0),
			 0);
	close(leases[1]);
	*visitor = (struct guest){message.session, connection[0], connection[1], leases[0]};
}

static void connect_guest(struct guest *visitor)
{
	int connection[2];

	open_pair(connection);
	introduce(&porter, visitor, connection, getpid());
}

static void forget_guest(struct guest *visitor)
{
	close(visitor->client);
	close(visitor->copy);
	close(visitor->lease);
}

static void send_hello(const struct guest *visitor)
{
	const struct vdm_message_hello hello = {.header = {VDM_MESSAGE_HELLO, sizeof hello},
						.magic = VDM_PROTOCOL_MAGIC,
						.version = VDM_PROTOCOL_VERSION,
						.command = "guest"};

	assert_int_equal(vdm_packet_send(visitor->client, &hello.header, NULL, 0), 0);
}

static void receive(const struct guest *visitor, uint32_t type, struct vdm_packet *packet)
{
	assert_true(await_input(visitor->client));
	assert_int_equal(vdm_packet_receive(visitor->client, packet, 0), 0);
	assert_int_equal(packet->message.header.type, type);
}

/* Greet, and return the lease. */
static int greet(const struct guest *visitor)
{
	struct vdm_packet packet;

	send_hello(visitor);
	receive(visitor, VDM_MESSAGE_WELCOME, &packet);
	assert_int_equal(packet.fd_count, VDM_WELCOME_FD_COUNT);
	assert_int_equal(packet.message.welcome.workers, 7);
	assert_string_equal(expect(PORTER_OPENED, visitor->session).command, "guest");
	return packet.fds[VDM_WELCOME_FD_LEASE];
}

static void ask(const struct guest *visitor, uint32_t type, const int *fds, unsigned count)
{
	union vdm_message message = {.header = {type, vdm_request(type)->size}};

	assert_int_equal(vdm_packet_send(visitor->client, &message.header, fds, count), 0);
}

static void answer(uint64_t session, uint32_t type, uint32_t size, const int *fds, unsigned count)
{
	struct porter_message message = {
		.type = PORTER_ANSWER, .session = session, .message.header = {type, size}};

	tell(&message, fds, count);
}

static void answer_done(const struct guest *visitor)
{
	struct vdm_packet packet;

	answer(visitor->session, VDM_MESSAGE_DONE, sizeof(struct vdm_message_done), NULL, 0);
	receive(visitor, VDM_MESSAGE_DONE, &packet);
}

/* Send a message with a descriptor that only the message has. Returns what hangs up with it. */
static int send_watched(int socket)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(passing_send(socket, "watched.", 8, &ends[1], 1, MSG_DONTWAIT), 0);
	close(ends[1]);
	return ends[0];
}

static int set_up(void **state)
{
	(void)state;
	if (!slow_calls)
		slow_calls = mmap(NULL, sizeof *slow_calls, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(slow_calls != MAP_FAILED);
	start_porter(&porter);
	connect_guest(&guest);
	close(greet(&guest));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	forget_guest(&guest);
	stop_porter(&porter);
	return 0;
}

/* A client that says nothing is left to itself while other tests go on. */
static int start_silence(void **state)
{
	int connection[2];

	(void)state;
	start_porter(&patient);
	open_pair(connection);
	introduce(&patient, &silent, connection, getpid());
	return 0;
}

static void a_client_that_says_nothing_has_to_leave(void **state)
{
	const struct porter_message message = listen_to(&patient);

	(void)state;
	assert_int_equal(message.type, PORTER_LEFT);
	assert_int_equal(message.session, silent.session);
	assert_int_equal(message.value, PORTER_SILENT);
	forget_guest(&silent);
	stop_porter(&patient);
}

static void the_welcome_brings_the_lease(void **state)
{
	struct guest other;

	(void)state;
	connect_guest(&other);

	int lease = greet(&other);

	assert_false(is_hung_up(lease));
	close(other.lease);
	other.lease = -1;
	AWAIT(is_hung_up(lease)); /* the porter has kept no copy of the other end */
	close(lease);
	forget_guest(&other);
}

static void the_porter_keeps_no_lease(void **state)
{
	(void)state; /* greet() has closed the client's */
	AWAIT(is_hung_up(guest.lease));
}

static void requests_are_passed_on_one_by_one(void **state)
{
	struct guest other;

	(void)state;
	ask(&guest, VDM_MESSAGE_STATUS, NULL, 0);
	ask(&guest, VDM_MESSAGE_RING_DESTROY, NULL, 0);

	struct porter_message request = expect(PORTER_REQUEST, guest.session);

	assert_int_equal(request.message.header.type, VDM_MESSAGE_STATUS);
	assert_int_equal(request.value, -1);
	/* others are served meanwhile */
	connect_guest(&other);
	close(greet(&other));
	answer_done(&guest);
	request = expect(PORTER_REQUEST, guest.session);
	assert_int_equal(request.message.header.type, VDM_MESSAGE_RING_DESTROY);
	forget_guest(&other);
}

static bool porter_has(int fd)
{
	char path[64], target[64] = "";

	snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)porter.pid, fd);
	return readlink(path, target, sizeof target - 1) > 0 && strstr(target, "memfd:passed");
}

static void a_descriptor_is_named_and_kept_until_the_answer(void **state)
{
	int fd = memfd_create("passed", MFD_CLOEXEC), read_only;
	char path[64];

	(void)state;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	read_only = open(path, O_RDONLY | O_CLOEXEC);
	for (unsigned i = 0; i < 2; i++) {
		int passed = i == 0 ? fd : read_only;

		ask(&guest, VDM_MESSAGE_REGION_ADD, &passed, 1);

		const struct porter_message request = expect(PORTER_REQUEST, guest.session);

		assert_true(porter_has(request.value));
		answer_done(&guest);
		assert_false(porter_has(request.value));
	}
	close(fd);
	close(read_only);
}

/* The kernel wakes all that waits for the client's socket, at each answer. */
static void a_client_that_takes_long_to_wake_has_to_go(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4;
	     i++) { /* the second and the fourth: then they are two in a row */
		ask(&guest, VDM_MESSAGE_STATUS, NULL, 0);
		expect(PORTER_REQUEST, guest.session);
		*slow_calls = i > 0 && i != 2;
		answer_done(&guest);
		*slow_calls = 0;
	}
	ask(&guest, VDM_MESSAGE_STATUS, NULL, 0);
	expect(PORTER_REQUEST, guest.session);
	*slow_calls = 1;
	answer_done(&guest);
	expect_leave(guest.session, PORTER_CROWDED);
	*slow_calls = 0;
}

/* And so does receiving its bells. */
static void a_client_whose_doorbell_takes_long_has_to_go(void **state)
{
	const struct porter_message bell = {
		.type = PORTER_BELL, .session = guest.session, .value = 1};
	int ends[2];

	(void)state;
	open_pair(ends);
	*slow_calls = 1;
	tell(&bell, &ends[1], 1);
	expect(PORTER_RECEIVED, guest.session);
	tell(&bell, &ends[1], 1);
	expect_leave(guest.session, PORTER_CROWDED);
	expect(PORTER_RECEIVED, guest.session);
	*slow_calls = 0;
	close(ends[0]);
	close(ends[1]);
}

/* It stands for "no answer". */
static void an_empty_answer_is_not_passed_on(void **state)
{
	(void)state;
	ask(&guest, VDM_MESSAGE_RING_START, NULL, 0);
	expect(PORTER_REQUEST, guest.session);
	answer(guest.session, 0, 0, NULL, 0);
	ask(&guest, VDM_MESSAGE_STATUS, NULL, 0);
	expect(PORTER_REQUEST, guest.session);
	answer_done(&guest); /* the first that is received */
}

static void answer_ring(const struct guest *visitor)
{
	const int fds[VDM_RING_FD_COUNT] = {0, 1, 2, 0};

	ask(visitor, VDM_MESSAGE_RING_CREATE, NULL, 0);
	expect(PORTER_REQUEST, visitor->session);
	answer(visitor->session, VDM_MESSAGE_RING_CREATED, sizeof(struct vdm_message_ring_created),
	       fds, VDM_RING_FD_COUNT);
}

static void answers_bring_descriptors(void **state)
{
	const unsigned before = count_fds_of(porter.pid);
	struct vdm_packet packet;

	(void)state;
	answer_ring(&guest);
	receive(&guest, VDM_MESSAGE_RING_CREATED, &packet);
	assert_int_equal(packet.fd_count, VDM_RING_FD_COUNT);
	vdm_packet_close(&packet);
	AWAIT(count_fds_of(porter.pid) == before);
}

static void the_end_is_told_when_the_socket_is_closed(void **state)
{
	(void)state;
	tell_of(guest.session, PORTER_HANG_UP);
	expect(PORTER_GONE, guest.session);
	assert_true(is_hung_up(guest.client));
}

/* Descriptors in it count as the porter's. */
static void an_unread_answer_keeps_a_session_that_has_ended(void **state)
{
	struct vdm_packet packet;
	struct guest other;

	(void)state;
	answer_ring(&guest);
	tell_of(guest.session, PORTER_HANG_UP);
	connect_guest(&other);
	close(greet(&other)); /* nothing else has been said before that */
	assert_true(is_hung_up(guest.client));
	receive(&guest, VDM_MESSAGE_RING_CREATED, &packet);
	vdm_packet_close(&packet);
	expect(PORTER_GONE, guest.session);
	forget_guest(&other);
}

static void a_client_that_goes_leaves_no_unread_answer(void **state)
{
	(void)state;
	answer_ring(&guest);
	tell_of(guest.session, PORTER_HANG_UP);
	AWAIT(is_hung_up(guest.client));
	close(guest.client);
	guest.client = -1;
	expect(PORTER_GONE, guest.session);
}

/* The daemon has it open still, and would close what is in it. */
static void a_socket_is_emptied_before_it_is_closed(void **state)
{
	int watched;

	(void)state;
	ask(&guest, VDM_MESSAGE_STATUS, NULL, 0);
	expect(PORTER_REQUEST, guest.session); /* and nothing is received until the answer */
	watched = send_watched(guest.client);
	assert_int_equal(passing_send(guest.client, "", 0, NULL, 0, 0), 0);
	close(watched);
	watched = send_watched(guest.client);
	assert_false(is_hung_up(watched));
	tell_of(guest.session, PORTER_HANG_UP);
	expect(PORTER_GONE, guest.session);
	assert_true(is_hung_up(watched));
	close(watched);
}

static void a_client_that_hangs_up_leaves(void **state)
{
	(void)state;
	close(guest.client);
	guest.client = -1;
	expect_leave(guest.session, PORTER_CLIENT_LEFT);
	tell_of(guest.session, PORTER_HANG_UP);
	expect(PORTER_GONE, guest.session);
}

/* Both ends of its connection are handed over by the client: it is the one that connected. */
static pid_t start_client(int connection[2])
{
	struct passing passing = {.bytes = &(char){0}, .size = 1, .fds = connection, .fd_count = 2};
	int way[2];
	pid_t child;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, way), 0);
	child = fork();
	if (child == 0) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, connection) < 0 ||
		    passing_send(way[1], "", 1, connection, 2, 0) < 0)
			_exit(EXIT_FAILURE);
		for (;;)
			pause();
	}
	assert_int_equal(passing_receive(way[0], &passing, 0), 0);
	assert_int_equal(passing.fd_count, 2);
	close(way[0]);
	close(way[1]);
	return child;
}

static void a_session_ends_with_the_process_that_connected(void **state)
{
	int connection[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		pid_t client = start_client(connection);
		struct guest other;

		introduce(&porter, &other, connection, client);
		close(greet(&other));
		if (i == 1) { /* also while it waits for an answer */
			ask(&other, VDM_MESSAGE_STATUS, NULL, 0);
			expect(PORTER_REQUEST, other.session);
		}
		kill(client, SIGKILL);
		waitpid(client, NULL, 0);
		expect_leave(other.session, PORTER_CLIENT_LEFT);
		if (i == 1) /* nobody reads that any more */
			answer(other.session, VDM_MESSAGE_DONE, sizeof(struct vdm_message_done),
			       NULL, 0);
		tell_of(other.session, PORTER_HANG_UP);
		expect(PORTER_GONE, other.session);
		forget_guest(&other);
	}
}

/* A process that ended before its connection came to the porter. */
static void a_client_may_have_ended_already(void **state)
{
	int connection[2];
	pid_t client = start_client(connection);
	struct guest other;

	(void)state;
	kill(client, SIGKILL);
	waitpid(client, NULL, 0);
	introduce(&porter, &other, connection, client);

	const struct porter_message message = expect(PORTER_LEFT, other.session);

	assert_true(message.value == PORTER_CLIENT_LEFT || message.value == PORTER_NO_DESCRIPTORS);
	forget_guest(&other);
}

static void a_client_that_does_not_read_has_to_leave(void **state)
{
	struct porter_message message;

	(void)state;
	do {
		ask(&guest, VDM_MESSAGE_STATUS, NULL, 0);
		message = listen_to(&porter);
		if (message.type == PORTER_REQUEST)
			answer(guest.session, VDM_MESSAGE_STATUS_REPLY,
			       sizeof(struct vdm_message_status_reply), NULL, 0);
	} while (message.type == PORTER_REQUEST);
	assert_int_equal(message.type, PORTER_LEFT);
	assert_int_equal(message.value, PORTER_CLIENT_DEAF);
}

static void a_refused_client_is_told_and_hung_up_on(void **state)
{
	const struct porter_message message = {
		.type = PORTER_REFUSE,
		.refused = {.header = {VDM_MESSAGE_REFUSED, sizeof message.refused},
			    .request = VDM_MESSAGE_HELLO,
			    .error = -EDQUOT}};
	struct vdm_packet packet;
	int ends[2], watched;

	(void)state;
	open_pair(ends);
	watched = send_watched(ends[0]);
	tell(&message, &ends[1], 1);
	assert_true(await_input(ends[0]));
	assert_int_equal(vdm_packet_receive(ends[0], &packet, 0), 0);
	assert_int_equal(packet.message.refused.error, -EDQUOT);
	AWAIT(is_hung_up(ends[0]));
	/* what it has sent is not left to the daemon, which has the socket still */
	AWAIT(is_hung_up(watched));
	close(watched);
	close(ends[0]);
	close(ends[1]);
}

static unsigned count_messages(int socket)
{
	unsigned count = 0;
	char byte;

	while (recv(socket, &byte, 1, MSG_DONTWAIT) > 0)
		count++;
	return count;
}

static void bells_are_received(void **state)
{
	(void)state;
	for (int ring = 0; ring < 2; ring++) {
		const struct porter_message message = {
			.type = PORTER_BELL, .session = guest.session, .value = ring};
		int ends[2], watched;

		open_pair(ends);
		watched = send_watched(ends[0]);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(passing_send(ends[0], "a bell.", 8, NULL, 0, 0), 0);
		tell(&message, &ends[1], 1);
		if (ring) /* the last time, nobody looks at the ring any more */
			expect(PORTER_RECEIVED, guest.session);
		/* the porter does one thing after the other */
		ask(&guest, VDM_MESSAGE_STATUS, NULL, 0);
		expect(PORTER_REQUEST, guest.session);
		answer_done(&guest);
		assert_true(is_hung_up(watched));
		assert_int_equal(count_messages(ends[1]), 0);
		close(watched);
		close(ends[0]);
		close(ends[1]);
	}
}

/* Let the porter have so many descriptors more. */
static void allow_descriptors(unsigned more)
{
	struct rlimit limit;

	assert_int_equal(prlimit(porter.pid, RLIMIT_NOFILE, NULL, &limit), 0);
	limit.rlim_cur = 0;
	for (unsigned room = 0; room <= more; limit.rlim_cur++) {
		char path[64];

		snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)porter.pid, (int)limit.rlim_cur);
		room += faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
	}
	limit.rlim_cur--;
	assert_int_equal(prlimit(porter.pid, RLIMIT_NOFILE, &limit, NULL), 0);
}

/* What there is no room for concerns one client alone. */
static void a_visitor_without_room_is_gone(void **state)
{
	struct guest other;

	(void)state;
	AWAIT(is_hung_up(guest.lease)); /* so that the porter has no descriptors to close */
	for (unsigned more = 0; more < 2; more++) {
		allow_descriptors(more);
		connect_guest(&other);
		expect(PORTER_GONE, other.session);
		forget_guest(&other);
	}
	ask(&guest, VDM_MESSAGE_STATUS, NULL, 0);
	expect(PORTER_REQUEST, guest.session);
	answer_done(&guest);
}

/* For the descriptor that tells when its process ends. */
static void a_visitor_with_too_little_room_has_to_leave(void **state)
{
	struct vdm_packet packet;
	struct guest other;

	(void)state;
	AWAIT(is_hung_up(guest.lease));
	allow_descriptors(2);
	connect_guest(&other);
	expect_leave(other.session, PORTER_NO_DESCRIPTORS);
	receive(&other, VDM_MESSAGE_REFUSED, &packet);
	assert_int_equal(packet.message.refused.error, -EMFILE);
	tell_of(other.session, PORTER_HANG_UP);
	expect(PORTER_GONE, other.session);
	forget_guest(&other);
}

static void a_client_whose_answer_has_no_room_has_to_leave(void **state)
{
	(void)state;
	AWAIT(is_hung_up(guest.lease));
	allow_descriptors(VDM_RING_FD_COUNT - 1);
	answer_ring(&guest);
	expect_leave(guest.session, PORTER_NO_DESCRIPTORS);
	tell_of(guest.session, PORTER_HANG_UP);
	expect(PORTER_GONE, guest.session);
}

static void a_request_without_room_is_refused(void **state)
{
	struct vdm_packet packet;

	(void)state;
	AWAIT(is_hung_up(guest.lease));
	allow_descriptors(0);
	ask(&guest, VDM_MESSAGE_REGION_ADD, &(int){0}, 1);
	receive(&guest, VDM_MESSAGE_REFUSED, &packet);
	assert_int_equal(packet.message.refused.request, VDM_MESSAGE_REGION_ADD);
	assert_int_equal(packet.message.refused.error, -EMFILE);
	ask(&guest, VDM_MESSAGE_STATUS, NULL, 0);
	expect(PORTER_REQUEST, guest.session);
	answer_done(&guest);
}

static void what_concerns_no_session_is_ignored(void **state)
{
	const uint64_t numbers[] = {0, guest.session + 1000, UINT64_MAX};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		answer(numbers[i], VDM_MESSAGE_DONE, sizeof(struct vdm_message_done), NULL, 0);
		tell_of(numbers[i], PORTER_HANG_UP);
		tell_of(numbers[i], PORTER_GONE);
		tell_of(numbers[i], UINT32_MAX);
	}
	/* and an answer that was not asked for */
	answer(guest.session, VDM_MESSAGE_DONE, sizeof(struct vdm_message_done), NULL, 0);
	ask(&guest, VDM_MESSAGE_STATUS, NULL, 0);
	expect(PORTER_REQUEST, guest.session);
	answer_done(&guest);
}

/* It serves its clients nevertheless, and says everything later. */
static void the_daemon_may_be_slow_to_listen(void **state)
{
	enum { GUESTS = 200 };
	static struct guest guests[GUESTS];
	struct vdm_packet packet;

	(void)state;
	for (unsigned i = 0; i < GUESTS; i++) {
		connect_guest(&guests[i]);
		send_hello(&guests[i]);
		receive(&guests[i], VDM_MESSAGE_WELCOME, &packet);
		vdm_packet_close(&packet);
		for (unsigned k = 0; k < 2; k++)
			ask(&guests[i], VDM_MESSAGE_STATUS, NULL, 0);
	}
	for (unsigned i = 0; i < 2 * GUESTS; i++) {
		const struct porter_message message = listen_to(&porter);

		assert_in_range(message.type, PORTER_OPENED, PORTER_REQUEST);
		assert_in_range(message.session, guests[0].session, guests[GUESTS - 1].session);
	}
	for (unsigned i = 0; i < GUESTS; i++)
		forget_guest(&guests[i]);
}

static void a_porter_ends_with_the_daemon(void **state)
{
	(void)state;
	answer_ring(&guest); /* whatever its clients do */
	stop_porter(&porter);
	close(guest.copy);
	AWAIT(is_hung_up(guest.client));
	close(guest.client);
	close(guest.lease);
	set_up(state);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

#define MIB ((size_t)1 << 20)

/* What a porter that its user has taken over might try: the number of the first that succeeds. */
static int try_what_is_forbidden(pid_t parent, int file, int socket)
{
	const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/run/x"};
	const struct iovec part = {&(char){0}, 1};
	static char stack[4096];
	const struct {
		long number, arguments[6];
	} calls[] = {
		{SYS_openat, {AT_FDCWD, (long)"/proc/self/status", O_RDONLY}},
		{SYS_openat, {AT_FDCWD, (long)"/proc", O_PATH}},
		{SYS_openat2, {AT_FDCWD, (long)"/proc", 0, 0}},
		{SYS_memfd_create, {(long)"x", 0}},
		{SYS_socket, {AF_UNIX, SOCK_STREAM, 0}},
		{SYS_socketpair, {AF_UNIX, SOCK_STREAM, 0, (long)stack}},
		{SYS_connect, {socket, (long)&address, sizeof address}},
		{SYS_bind, {socket, (long)&address, sizeof address}},
		{SYS_kill, {parent, 0}},
		{SYS_kill, {getpid(), 0}},
		{SYS_tgkill, {parent, parent, 0}},
		{SYS_tkill, {parent, 0}},
		{SYS_rt_sigqueueinfo, {parent, 0, (long)stack}},
		{SYS_ptrace, {PTRACE_ATTACH, parent, 0, 0}},
		{SYS_process_vm_readv, {parent, (long)&part, 1, (long)&part, 1, 0}},
		{SYS_process_vm_writev, {parent, (long)&part, 1, (long)&part, 1, 0}},
		{SYS_pidfd_getfd, {0, 0, 0}},
		{SYS_pidfd_send_signal, {0, 0, 0, 0}},
		{SYS_prlimit64, {parent, RLIMIT_NOFILE, 0, (long)stack}},
		{SYS_clone, {SIGCHLD, 0}},
		{SYS_execve, {(long)"/bin/true", 0, 0}},
		{SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0}},
		{SYS_mmap, {0, 4096, PROT_READ, MAP_SHARED, file, 0}},
		{SYS_mprotect, {(long)stack, 0, PROT_READ | PROT_WRITE | PROT_EXEC}},
		{SYS_unlinkat, {AT_FDCWD, (long)"/nothing", 0}},
		{SYS_fchmod, {file, 0600}},
		{SYS_ftruncate, {file, 0}},
		{SYS_setuid, {0}},
		{SYS_unshare, {0}},
		{SYS_io_uring_setup, {1, (long)stack}},
		{SYS_bpf, {0, 0, 0}},
		{SYS_userfaultfd, {0}},
		{SYS_prctl, {PR_SET_DUMPABLE, 0, 0, 0, 0}},
	};

	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		const long *a = calls[i].arguments;

		if (syscall(calls[i].number, a[0], a[1], a[2], a[3], a[4], a[5]) != -1 ||
		    errno != EPERM)
			return (int)i + 1;
	}
	return 0;
}

/* The memory of its own is limited. Returns whether it is. */
static bool memory_is_limited(void)
{
	/* or a compiler might leave out what is not used */
	void *volatile little = malloc(MIB), *volatile much = malloc(128 * MIB);
	void *mapped =
		mmap(NULL, 128 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool limited = mapped == MAP_FAILED && errno == ENOMEM && little && !much;

	free(little);
	free(much);
	return limited;
}

static void in_jail_a_process_can_do_nothing_else(void **state)
{
	int file = memfd_create("file", MFD_CLOEXEC), ends[2], status;
	const pid_t parent = getpid();

	(void)state;
	if (SANITIZED)
		skip(); /* sanitizers use more than a porter may */
	open_pair(ends);
	assert_int_equal(ftruncate(file, 4096), 0);

	pid_t child = fork();

	if (child == 0) {
		if (porter_jail() < 0)
			_exit(200);
		status = try_what_is_forbidden(parent, file, ends[0]);
		if (status == 0 && !memory_is_limited())
			status = 201;
		_exit(status);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(file);
	close(ends[0]);
	close(ends[1]);
}

/* Each porter is in it from the start. */
static void a_porter_is_in_jail(void **state)
{
	char path[64], line[256];
	bool filtered = false;
	struct rlimit memory;

	(void)state;
	if (SANITIZED)
		skip();
	snprintf(path, sizeof path, "/proc/%d/status", (int)porter.pid);

	FILE *file = fopen(path, "re");

	assert_non_null(file);
	while (fgets(line, sizeof line, file))
		filtered |= strncmp(line, "Seccomp:\t2", 10) == 0;
	fclose(file);
	assert_true(filtered);
	assert_int_equal(prlimit(porter.pid, RLIMIT_AS, NULL, &memory), 0);
	assert_true(memory.rlim_max <= 64 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(the_welcome_brings_the_lease),
		TEST(the_porter_keeps_no_lease),
		TEST(requests_are_passed_on_one_by_one),
		TEST(a_descriptor_is_named_and_kept_until_the_answer),
		TEST(an_empty_answer_is_not_passed_on),
		TEST(answers_bring_descriptors),
		TEST(the_end_is_told_when_the_socket_is_closed),
		TEST(an_unread_answer_keeps_a_session_that_has_ended),
		TEST(a_client_that_goes_leaves_no_unread_answer),
		TEST(a_socket_is_emptied_before_it_is_closed),
		TEST(a_client_that_hangs_up_leaves),
		TEST(a_session_ends_with_the_process_that_connected),
		TEST(a_client_may_have_ended_already),
		TEST(a_client_that_does_not_read_has_to_leave),
		TEST(a_refused_client_is_told_and_hung_up_on),
		TEST(bells_are_received),
		TEST(a_client_that_takes_long_to_wake_has_to_go),
		TEST(a_client_whose_doorbell_takes_long_has_to_go),
		TEST(a_visitor_without_room_is_gone),
		TEST(a_visitor_with_too_little_room_has_to_leave),
		TEST(a_client_whose_answer_has_no_room_has_to_leave),
		TEST(a_request_without_room_is_refused),
		TEST(what_concerns_no_session_is_ignored),
		TEST(the_daemon_may_be_slow_to_listen),
		TEST(a_porter_ends_with_the_daemon),
		TEST(a_porter_is_in_jail),
		cmocka_unit_test(in_jail_a_process_can_do_nothing_else),
		cmocka_unit_test(a_client_that_says_nothing_has_to_leave),
	};

	return cmocka_run_group_tests(tests, start_silence, NULL);
}
