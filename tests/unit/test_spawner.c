/* SPDX-License-Identifier: BSD-3-Clause */
/* daemon/spawner.c: porters are born, clients are refused, and nothing outlives the daemon. */
#include "daemon/spawner.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "await.h"
#include "daemon/filer.h"
#include "daemon/porter.h"
#include "proto/passing.h"
#include "proto/porter.h"

static const spawner_mains mains = {[SPAWNER_PORTER] = porter_main, [SPAWNER_FILER] = filer_main};
static struct spawner spawner;
static pid_t spawner_pid;

/* A porter, as its clerk has it. */
struct porter_end {
	int socket, directory, pidfd;
	pid_t pid;
};

static int set_up(void **state)
{
	int inherited = open("/dev/null", O_RDONLY);

	(void)state;
	assert_int_equal(spawner_start(&spawner, &mains), 0);
	spawner_pid = first_child_of(getpid());
	close(inherited);
	return 0;
}

static int tear_down(void **state)
{
	int status;

	(void)state;
	spawner_stop(&spawner);
	assert_int_equal(waitpid(spawner_pid, &status, 0), spawner_pid);
	assert_int_equal(status, 0);
	return 0;
}

static void open_pair(int ends[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
}

/* Returns as passing_receive() does. */
static int receive(int socket, struct porter_message *message, int *fd)
{
	struct passing passing = {
		.bytes = message, .size = sizeof *message, .fds = fd, .fd_count = 1};

	*fd = -1;
	memset(message, 0, sizeof *message);
	assert_true(await_input(socket));
	int result = passing_receive(socket, &passing, MSG_DONTWAIT);

	return !result && passing.size == 0 ? -ENOTCONN : result;
}

/* Have a porter forked, which finds a client there. */
static void begin(struct porter_end *porter, int *client)
{
	const struct vdm_message_hello hello = {.header = {VDM_MESSAGE_HELLO, sizeof hello},
						.magic = VDM_PROTOCOL_MAGIC,
						.version = VDM_PROTOCOL_VERSION,
						.command = "early"};
	const struct porter_message visitor = {
		.type = PORTER_VISITOR,
		.value = getpid(),
		.session = 1,
		.welcome.header = {VDM_MESSAGE_WELCOME, sizeof visitor.welcome}};
	int ends[2], clients[2], leases[2];

	open_pair(ends);
	open_pair(clients);
	open_pair(leases);
	assert_int_equal(vdm_packet_send(clients[0], &hello.header, NULL, 0), 0);

	const int fds[] = {clients[1], leases[1]};

	assert_int_equal(passing_send(ends[0], &visitor, porter_message_size(&visitor), fds, 2, 0),
			 0);
	AWAIT(spawner_new_process(&spawner, SPAWNER_PORTER, ends[1]) == 0);
	close(ends[1]);
	close(clients[1]);
	close(leases[0]);
	close(leases[1]);
	*porter = (struct porter_end){.socket = ends[0], .directory = -1, .pidfd = -1};
	*client = clients[0];
}

static void receive_birth(struct porter_end *porter)
{
	struct porter_message message;
	int fds[PORTER_BORN_FDS];
	struct passing passing = {
		.bytes = &message, .size = sizeof message, .fds = fds, .fd_count = PORTER_BORN_FDS};

	assert_true(await_input(porter->socket));
	assert_int_equal(passing_receive(porter->socket, &passing, MSG_DONTWAIT), 0);
	assert_int_equal(message.type, PORTER_BORN);
	assert_int_equal(passing.fd_count, PORTER_BORN_FDS);
	porter->directory = fds[PORTER_BORN_DIRECTORY];
	porter->pidfd = fds[PORTER_BORN_PIDFD];
	porter->pid = message.value;
	/* a pidfd of that process, which lives */
	assert_int_equal(syscall(SYS_pidfd_send_signal, porter->pidfd, 0, NULL, 0), 0);
}

/* Hang up on it, and wait for its end. */
static void end(const struct porter_end *porter)
{
	close(porter->socket);
	close(porter->directory);
	assert_true(await_input(porter->pidfd)); /* the end of its process */
	close(porter->pidfd);
	AWAIT(kill(porter->pid, 0) < 0 && errno == ESRCH);
}

/* It waits for its first message, and ends with its socket. */
static void a_filer_is_born_as_a_porter_is(void **state)
{
	struct porter_end filer = {.directory = -1, .pidfd = -1};
	char path[64], name[32];
	int ends[2];

	(void)state;
	open_pair(ends);
	AWAIT(spawner_new_process(&spawner, SPAWNER_FILER, ends[1]) == 0);
	close(ends[1]);
	filer.socket = ends[0];
	receive_birth(&filer);
	snprintf(path, sizeof path, "/proc/%d/comm", (int)filer.pid);
	for (strcpy(name, ""); strcmp(name, "vdmd-filer\n") != 0;) { /* it gives itself that name */
		FILE *file = fopen(path, "re");

		assert_non_null(file);
		assert_non_null(fgets(name, sizeof name, file));
		fclose(file);
	}
	end(&filer);
}

static void a_porter_is_born_before_it_speaks(void **state)
{
	struct porter_message message;
	struct porter_end porter;
	char path[32], name[32] = "";
	int client, fd;

	(void)state;
	begin(&porter, &client);
	receive_birth(&porter);
	assert_int_equal(receive(porter.socket, &message, &fd), 0);
	assert_int_equal(message.type, PORTER_OPENED);
	assert_string_equal(message.command, "early");

	int comm = openat(porter.directory, "comm", O_RDONLY | O_CLOEXEC);

	assert_true(read(comm, name, sizeof name - 1) > 0);
	assert_string_equal(name, "vdmd-porter\n");
	close(comm);
	/* whose number it is, and whose descriptors */
	snprintf(path, sizeof path, "/proc/%d/comm", (int)porter.pid);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(faccessat(porter.directory, "fd/0", F_OK, AT_SYMLINK_NOFOLLOW), 0);
	close(client);
	end(&porter);
}

/* Besides the standard streams. */
static unsigned count_sockets(const struct porter_end *porter)
{
	unsigned sockets = 0;

	for (int fd = STDERR_FILENO + 1; fd < 1024; fd++) {
		char path[32], target[16] = "";

		snprintf(path, sizeof path, "fd/%d", fd);
		if (readlinkat(porter->directory, path, target, sizeof target - 1) > 0)
			sockets += strncmp(target, "socket:", 7) == 0;
		assert_string_not_equal(target, "/dev/null");
	}
	return sockets;
}

/* Nor another porter's clients. */
static void a_porter_has_no_descriptors_of_the_daemon(void **state)
{
	struct porter_end first, second;
	struct porter_message message;
	int clients[2], fd;

	(void)state;
	begin(&first, &clients[0]);
	receive_birth(&first);
	assert_int_equal(receive(first.socket, &message, &fd), 0);
	begin(&second, &clients[1]);
	receive_birth(&second);
	assert_int_equal(receive(second.socket, &message, &fd), 0);
	/* to the daemon, and to a client; the lease has been passed on */
	AWAIT(count_sockets(&first) == 2);
	AWAIT(count_sockets(&second) == 2);
	close(clients[0]);
	close(clients[1]);
	end(&first);
	end(&second);
}

static void porters_that_have_ended_are_buried(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		struct porter_end porter;
		int client;

		begin(&porter, &client);
		receive_birth(&porter);
		close(client);
		end(&porter);
	}
	AWAIT(first_child_of(spawner_pid) == 0);
}

/* Leave the spawner room for so many descriptors beside those that it keeps. */
static void limit_descriptors(unsigned room)
{
	rlim_t limit = 0;

	for (unsigned free = 0; free < room; limit++) {
		char path[64];

		snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)spawner_pid, (int)limit);
		free += faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
	}
	const struct rlimit files = {limit, limit};

	assert_int_equal(prlimit(spawner_pid, RLIMIT_NOFILE, &files, NULL), 0);
}

/* Or the daemon would take descriptors from the porter itself, and could not end it. */
static void a_porter_whose_birth_cannot_be_told_does_not_begin(void **state)
{
	struct porter_message message;
	struct porter_end porter;
	int client, fd;

	(void)state;
	begin(&porter, &client); /* the spawner has only the descriptors that it keeps then */
	receive_birth(&porter);
	close(client);
	end(&porter);
	/* first for the socket and a pipe, but for no directory; then for no pipe */
	for (unsigned i = 0; i < 2; i++) {
		limit_descriptors(i == 0 ? 3 : 1);
		begin(&porter, &client);
		assert_int_equal(receive(porter.socket, &message, &fd), -ENOTCONN);
		close(porter.socket);
		close(client);
		AWAIT(first_child_of(spawner_pid) == 0);
	}
}

static void refuse_client(int socket)
{
	struct vdm_message_refused refused = {.header = {VDM_MESSAGE_REFUSED, sizeof refused},
					      .request = VDM_MESSAGE_HELLO,
					      .error = -EDQUOT,
					      .text = "enough is enough"};

	AWAIT(spawner_refuse(&spawner, socket, &refused) == 0);
	AWAIT(spawner_flush(&spawner) == 0);
}

static void expect_refusal(int client)
{
	struct vdm_packet packet;

	assert_true(await_input(client));
	assert_int_equal(vdm_packet_receive(client, &packet, 0), 0);
	assert_int_equal(packet.message.header.type, VDM_MESSAGE_REFUSED);
	assert_int_equal(packet.message.refused.error, -EDQUOT);
	assert_string_equal(packet.message.refused.text, "enough is enough");
	assert_true(await_input(client));
	assert_int_equal(vdm_packet_receive(client, &packet, 0), -ENOTCONN);
}

/* More than are hung up on at a time. */
static void clients_are_refused(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		int ends[2];

		open_pair(ends);
		refuse_client(ends[1]);
		assert_int_equal(fcntl(ends[1], F_GETFD), -1);
		expect_refusal(ends[0]);
		close(ends[0]);
	}
	AWAIT(first_child_of(spawner_pid) == 0);
}

static void a_client_that_has_gone_is_refused(void **state)
{
	int ends[2];

	(void)state;
	open_pair(ends);
	close(ends[0]);
	refuse_client(ends[1]);
	AWAIT(first_child_of(spawner_pid) == 0);
}

/* A TCP connection with bytes that its peer does not take: close(2) waits for them, socket(7). */
static void open_lingering(int *lingering, int *peer)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct linger linger = {.l_onoff = 1, .l_linger = 10000};
	static const char bytes[65536];
	socklen_t size = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*lingering = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0) {
		print_message("skipped: there is no TCP\n");
		skip();
	}
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(connect(*lingering, (struct sockaddr *)&address, sizeof address), 0);
	*peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	while (send(*lingering, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
		;
	assert_int_equal(setsockopt(*lingering, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
}

/* What a refused client has in its socket does not hold up the next one. */
static void what_a_refused_client_sends_does_not_linger(void **state)
{
	enum { CLIENTS = 40 }; /* more than are hung up on at a time */
	int peers[CLIENTS], ends[2];

	(void)state;
	for (unsigned i = 0; i < CLIENTS; i++) {
		int lingering;

		open_lingering(&lingering, &peers[i]);
		open_pair(ends);
		assert_int_equal(passing_send(ends[0], "linger", 6, &lingering, 1, 0), 0);
		close(lingering);
		refuse_client(ends[1]);
		expect_refusal(ends[0]);
		close(ends[0]);
	}
	open_pair(ends);
	refuse_client(ends[1]);
	expect_refusal(ends[0]);
	close(ends[0]);
	AWAIT(first_child_of(spawner_pid) == 0);
	for (unsigned i = 0; i < CLIENTS; i++)
		close(peers[i]);
}

/* Signals to the whole group are the daemon's, which ends its processes when it is done. */
static void signals_do_not_end_it(void **state)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};
	struct porter_end first, second;
	struct porter_message message;
	int clients[2], fd;

	(void)state;
	begin(&first, &clients[0]);
	receive_birth(&first);
	for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) {
		kill(spawner_pid, signals[i]);
		kill(first.pid, signals[i]);
	}
	begin(&second, &clients[1]);
	receive_birth(&second);
	assert_int_equal(receive(first.socket, &message, &fd), 0);
	assert_int_equal(message.type, PORTER_OPENED);
	assert_false(is_hung_up(first.socket));
	close(clients[0]);
	close(clients[1]);
	end(&first);
	end(&second);
}

/* What is no request of the daemon's. */
static void messages_without_descriptors_are_ignored(void **state)
{
	const struct vdm_message_refused refused = {
		.header = {VDM_MESSAGE_REFUSED, sizeof refused}};
	int ends[2];

	(void)state;
	assert_int_equal(passing_send(spawner.births, "", 1, NULL, 0, 0), 0);
	assert_int_equal(passing_send(spawner.refusals, &refused, sizeof refused, NULL, 0, 0), 0);
	open_pair(ends);
	refuse_client(ends[1]);
	expect_refusal(ends[0]);
	close(ends[0]);
}

/* As when the daemon has been killed: porters go when their clerks' ends are closed. */
static void all_end_with_the_daemon(void **state)
{
	struct porter_end porter;
	int client, ends[2], status;

	(void)state;
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	begin(&porter, &client);
	receive_birth(&porter);
	/* a client that is to be refused, and is not yet */
	open_pair(ends);
	assert_int_equal(passing_send(spawner.refusals, "", 1, &ends[1], 1, 0), 0);
	close(ends[1]);
	spawner_stop(&spawner);
	assert_int_equal(waitpid(spawner_pid, &status, 0), spawner_pid);
	assert_int_equal(status, 0);
	AWAIT(is_hung_up(ends[0]));
	close(ends[0]);
	close(client);
	close(porter.socket);
	close(porter.directory);
	/* it is ours now */
	AWAIT(waitpid(porter.pid, &status, WNOHANG) == porter.pid);
	assert_int_equal(spawner_start(&spawner, &mains), 0);
	spawner_pid = first_child_of(getpid());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(a_porter_is_born_before_it_speaks),
		TEST(a_filer_is_born_as_a_porter_is),
		TEST(a_porter_has_no_descriptors_of_the_daemon),
		TEST(porters_that_have_ended_are_buried),
		TEST(a_porter_whose_birth_cannot_be_told_does_not_begin),
		TEST(clients_are_refused),
		TEST(a_client_that_has_gone_is_refused),
		TEST(what_a_refused_client_sends_does_not_linger),
		TEST(signals_do_not_end_it),
		TEST(messages_without_descriptors_are_ignored),
		TEST(all_end_with_the_daemon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
