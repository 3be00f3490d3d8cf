/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon/filing.c: a daemon and a real filer. Clients get connections to it, and a filer that ends
 * or hangs holds up neither their sessions nor the daemon.
 */
#include "daemon/filing.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "live_daemon.h"

/* Ask for a connection to the filer. Returns its socket, or the error of the refusal. */
static int ask_for_filer(void)
{
	const struct vdm_message_files files = {{VDM_MESSAGE_FILES, sizeof files}};
	struct vdm_packet reply;
	int result = ask_for(&files, NULL, 0, VDM_MESSAGE_FILES_OPENED, &reply);

	if (result)
		return result;
	assert_int_equal(reply.fd_count, VDM_FILES_FD_COUNT);
	return reply.fds[VDM_FILES_FD_SOCKET];
}

/* Greet on that socket. Returns 0, and stores the lease; or as vdm_packet_receive() does. */
static int greet_filer(int socket, int *filers_lease)
{
	const struct vdm_message_hello greeting = {.header = {VDM_MESSAGE_HELLO, sizeof greeting},
						   .magic = VDM_PROTOCOL_MAGIC,
						   .version = VDM_PROTOCOL_VERSION,
						   .command = "test"};
	struct vdm_packet reply;
	int result = vdm_packet_send(socket, &greeting.header, NULL, 0);

	if (!result) {
		assert_true(await_input(socket));
		result = vdm_packet_receive(socket, &reply, 0);
	}
	if (result)
		return result;
	assert_int_equal(reply.message.header.type, VDM_MESSAGE_WELCOME);
	assert_int_equal(reply.fd_count, VDM_WELCOME_FD_COUNT);
	*filers_lease = reply.fds[VDM_WELCOME_FD_LEASE];
	return 0;
}

struct connection {
	int socket, lease;
};

static struct connection connect_to_filer(void)
{
	struct connection connection = {.socket = ask_for_filer()};

	assert_true(connection.socket >= 0);
	assert_int_equal(greet_filer(connection.socket, &connection.lease), 0);
	return connection;
}

static void disconnect(struct connection *connection)
{
	close(connection->socket);
	close(connection->lease);
}

static void a_client_gets_a_connection_to_its_filer(void **state)
{
	(void)state;
	greet();

	struct connection connection = connect_to_filer();

	assert_int_not_equal(filer_pid(), 0);
	/* the session has not changed */
	assert_int_equal(synchronize(), 0);
	disconnect(&connection);
}

static void sessions_of_a_user_share_a_filer(void **state)
{
	int first;

	(void)state;
	greet();

	struct connection connection = connect_to_filer(), other;
	const pid_t filer = filer_pid();

	first = client;
	close(lease);
	lease = -1;
	connect_client();
	greet();
	other = connect_to_filer();
	assert_int_equal(filer_pid(), filer);
	close(first);
	/* the other session has not ended */
	assert_true(await_input(connection.lease));
	assert_false(is_hung_up(other.lease));
	disconnect(&connection);
	disconnect(&other);
}

static void another_connection_takes_the_place_of_the_first(void **state)
{
	(void)state;
	greet();

	struct connection first = connect_to_filer(), second = connect_to_filer();

	assert_true(await_input(first.lease));
	assert_true(is_hung_up(first.lease));
	assert_false(is_hung_up(second.lease));
	disconnect(&first);
	disconnect(&second);
}

static void the_end_of_the_session_ends_the_connection(void **state)
{
	(void)state;
	greet();

	struct connection connection = connect_to_filer();

	close_client();
	assert_true(await_input(connection.lease));
	assert_true(is_hung_up(connection.lease));
	assert_true(await_input(connection.socket));
	disconnect(&connection);
}

static void after_a_filer_has_been_killed_there_is_another(void **state)
{
	(void)state;
	greet();

	struct connection connection = connect_to_filer();
	const pid_t filer = filer_pid();
	int socket;

	assert_int_equal(kill(filer, SIGKILL), 0);
	assert_true(await_input(connection.socket));
	assert_true(is_hung_up(connection.lease));
	socket = ask_for_filer();
	disconnect(&connection);
	/* one that is ending may still be given clients, and hangs up on them */
	while (socket == -EBUSY ||
	       (socket >= 0 && greet_filer(socket, &connection.lease) == -ENOTCONN)) {
		if (socket >= 0)
			close(socket);
		socket = ask_for_filer();
	}
	assert_true(socket >= 0);
	connection.socket = socket;
	assert_int_not_equal(filer_pid(), filer);
	disconnect(&connection);
}

/* More clients come than the filer has room for, which are few: the descriptors in messages that it
 * has not received are counted for all users together. */
static void a_filer_that_hangs_holds_up_no_session(void **state)
{
	enum { MOST_UNRECEIVED = 64 };
	unsigned unreceived = 0;
	int result = 0;

	(void)state;
	greet();

	struct connection connection = connect_to_filer();

	assert_int_equal(kill(filer_pid(), SIGSTOP), 0);
	for (; unreceived <= MOST_UNRECEIVED && result >= 0; unreceived++) {
		result = ask_for_filer();
		if (result >= 0)
			close(result);
	}
	assert_int_equal(result, -EAGAIN);
	assert_int_equal(synchronize(), 0);
	next_client();
	greet();
	close_client();
	disconnect(&connection);
	/* a clerk without sessions ends it */
	AWAIT(filer_pid() == 0);
}

static void a_filer_that_hangs_does_not_hold_up_the_daemons_end(void **state)
{
	(void)state;
	greet();

	struct connection connection = connect_to_filer();

	assert_int_equal(kill(filer_pid(), SIGSTOP), 0);
	free_server();
	assert_true(await_input(connection.socket));
	AWAIT(filer_pid() == 0);
	disconnect(&connection);
}

static void a_violation_ends_the_connection_alone(void **state)
{
	const struct vdm_message_status status = {.header = {VDM_MESSAGE_STATUS, sizeof status}};

	(void)state;
	greet();

	struct connection connection = connect_to_filer();

	assert_int_equal(vdm_packet_send(connection.socket, &status.header, NULL, 0), 0);
	assert_true(await_input(connection.lease));
	AWAIT(violated() == 1);
	assert_non_null(strstr(last_logged(), "of a type that clients do not send"));
	assert_int_equal(synchronize(), 0);
	disconnect(&connection);
	connection = connect_to_filer();
	disconnect(&connection);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_client_gets_a_connection_to_its_filer),
		TEST(sessions_of_a_user_share_a_filer),
		TEST(another_connection_takes_the_place_of_the_first),
		TEST(the_end_of_the_session_ends_the_connection),
		TEST(after_a_filer_has_been_killed_there_is_another),
		TEST(a_filer_that_hangs_holds_up_no_session),
		TEST(a_filer_that_hangs_does_not_hold_up_the_daemons_end),
		TEST(a_violation_ends_the_connection_alone),
	};

	return cmocka_run_group_tests(tests, start_spawner, stop_spawner);
}
