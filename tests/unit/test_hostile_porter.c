/* SPDX-License-Identifier: BSD-3-Clause */
/* daemon/clerk.c, whose user has taken over the porter. This process is the spawner, too. */
#include "daemon/server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/log.h"
#include "proto/passing.h"
#include "proto/porter.h"
#include "tests/twin_process.h"

#define ROUNDS 8

static struct server *server;
static int spawner; /* the end that porters are asked for at */

static unsigned count_threads(void)
{
	DIR *directory = opendir("/proc/self/task");
	unsigned count = 0;

	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static int set_up(void **state)
{
	struct spawner ours = {.refusals = -1};
	struct config config;
	int porters[2], refusals[2];

	(void)state;
	log_set_level(LOG_CRIT);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, porters), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, refusals), 0);
	spawner = porters[1];
	ours.births = porters[0];
	ours.refusals = refusals[0]; /* nobody reads the other end */
	config_defaults(&config);
	config.workers = 1;
	assert_int_equal(server_new(&config, &ours, &server), 0);
	return 0;
}

/* A client connects. Returns its end. */
static int connect_client(void)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	acceptor_admit(&server->acceptor, ends[1]);
	return ends[0];
}

/* The socket of a porter that is asked for, or -1 if none is. */
static int become_porter(void)
{
	struct porter_message born = {.type = PORTER_BORN};
	int fd = -1, twin[PORTER_BORN_FDS];
	struct passing passing = {.bytes = &(char){0}, .size = 1, .fds = &fd, .fd_count = 1};

	assert_true(twin_process_start(twin));
	if (passing_receive(spawner, &passing, MSG_DONTWAIT) == 0)
		assert_int_equal(passing_send(fd, &born, sizeof born, twin, PORTER_BORN_FDS, 0), 0);
	close(twin[0]);
	close(twin[1]);
	return fd;
}

/* A TCP socket whose last close(2) waits, for bytes that its peer never reads. */
static int lingering_socket(int *listener)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct linger linger = {.l_onoff = 1, .l_linger = 1000};
	static const char bytes[65536];
	socklen_t size = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(*listener, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(*listener, 1), 0);
	assert_int_equal(getsockname(*listener, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, size), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
	while (send(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
		;
	return fd;
}

/* Be a porter that leaves such a socket behind its end. Returns what makes it slow. */
static int end_slowly(int porter)
{
	int listener, slow;

	if (porter < 0)
		return -1;
	slow = lingering_socket(&listener);
	passing_send(porter, "", 0, NULL, 0, 0);
	if (passing_send(porter, "", 1, &slow, 1, 0)) {
		close(listener); /* closing it here is not to be slow */
		listener = -1;
	}
	close(slow);
	close(porter);
	return listener;
}

/* Behind the end of a porter there may be a descriptor that its clerk is slow to close. */
static void slow_endings_do_not_pile_up(void **state)
{
	int listeners[ROUNDS], clients[ROUNDS];
	unsigned before = count_threads();

	(void)state;
	for (unsigned i = 0; i < ROUNDS; i++) {
		clients[i] = connect_client();
		listeners[i] = end_slowly(become_porter());
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	}
	assert_in_range(count_threads(), before, before + 2);
	for (unsigned i = 0; i < ROUNDS; i++) {
		close(clients[i]);
		if (listeners[i] >= 0)
			close(listeners[i]);
	}
}

static bool kernel_can_refuse_fds(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	bool can;

	passing_allow_fds(fd, false);
	can = !passing_allows_fds(fd);
	close(fd);
	return can;
}

/* Once it has been born. */
static void a_porter_cannot_send_descriptors(void **state)
{
	const int fd = STDIN_FILENO;
	int result = 0, client, porter;

	(void)state;
	if (!kernel_can_refuse_fds())
		skip();
	client = connect_client();
	porter = become_porter();
	assert_true(porter >= 0);
	for (unsigned i = 0; i < 10000 && result != -EPERM; i++) {
		result = passing_send(porter, "", 1, &fd, 1, MSG_DONTWAIT);
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	assert_int_equal(result, -EPERM);
	close(porter);
	close(client);
}

static int tear_down(void **state)
{
	(void)state;
	server_free(server);
	close(spawner);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(slow_endings_do_not_pile_up, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_porter_cannot_send_descriptors, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
