/* SPDX-License-Identifier: BSD-3-Clause */
/* daemon/reaper.c: what is slow to close delays its own user alone. */
#include "daemon/reaper.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/user.h"

static sd_event *event;
static struct reaper *reaper;

static int set_up(void **state)
{
	(void)state;
	return sd_event_new(&event) < 0 || reaper_new(event, &reaper) < 0;
}

static int tear_down(void **state)
{
	(void)state;
	reaper_free(reaper);
	sd_event_unref(event);
	return 0;
}

/*
 * The two ends of a full TCP connection: closing one lingers until the other is closed, or for an
 * hour.
 */
static int lingering(int *other)
{
	const int small = 4096; /* of buffers */
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct linger linger = {.l_onoff = 1, .l_linger = 3600};
	socklen_t size = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	static char bytes[65536];

	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
	(void)connect(fd, (struct sockaddr *)&address, sizeof address); /* EINPROGRESS */
	*other = accept(listener, NULL, NULL);
	assert_true(*other >= 0);
	close(listener);
	while (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0)
		;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return fd;
}

static void a_socket_that_lingers_delays_its_own_user_alone(void **state)
{
	struct user slow = {.references = 1}, quick = {.references = 1};
	int fd[20], other[20], ends[2];

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		fd[i] = lingering(&other[i]);
		reaper_close(reaper, &slow, &fd[i], 1);
		assert_int_equal(fd[i], -1);
	}
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	int copy = ends[0];

	reaper_close(reaper, &quick, &ends[0], 1);
	while (quick.reaper_jobs > 0)
		sd_event_run(event, UINT64_MAX);
	assert_int_equal(fcntl(copy, F_GETFD), -1);
	assert_int_equal(quick.references, 1);
	assert_int_equal(slow.reaper_jobs, 20);
	assert_int_equal(slow.book.used[RESOURCE_DESCRIPTORS], 20);
	/* with the other ends gone there is nothing to linger for */
	for (unsigned i = 0; i < 20; i++)
		close(other[i]);
	while (slow.reaper_jobs > 0)
		sd_event_run(event, UINT64_MAX);
	assert_int_equal(slow.references, 1);
	assert_int_equal(slow.book.used[RESOURCE_DESCRIPTORS], 0);
	close(ends[1]);
}

/* There is no user when the process that connected has ended already. */
static void sockets_without_a_user_delay_no_user(void **state)
{
	struct user quick = {.references = 1};
	int fd[20], other[20], ends[2];

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		fd[i] = lingering(&other[i]);
		reaper_close(reaper, NULL, &fd[i], 1);
	}
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	reaper_close(reaper, &quick, ends, 2);
	while (quick.reaper_jobs > 0)
		sd_event_run(event, UINT64_MAX);
	for (unsigned i = 0; i < 20; i++)
		close(other[i]);
}

static unsigned count_fds(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 4096; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* Too many that linger do not stay open in this process, with or without a user. */
static void many_that_linger_are_given_up(void **state)
{
	struct user users[2] = {{.references = 1}, {.references = 1}};
	struct user *const owners[] = {&users[0], &users[1], NULL};
	struct rlimit limit;
	int fd, other[1000];

	(void)state;
	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < 4096)
		skip();
	limit.rlim_cur = 4096;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	unsigned before = count_fds();

	for (unsigned i = 0; i < 1000; i++) {
		fd = lingering(&other[i]);
		reaper_close(reaper, owners[i % 2 + (i >= 600)], &fd, 1);
	}
	/*
	 * 300, 500 and 200 of them: of each, as many as may wait, and those that the threads are
	 * closing
	 */
	assert_in_range(count_fds(), before + 1000 + 200 - 4, before + 1000 + 3 * 256);
	assert_in_range(users[1].book.used[RESOURCE_DESCRIPTORS], 4, 256 + 4);
	for (unsigned i = 0; i < 1000; i++)
		close(other[i]);
	while (users[0].reaper_jobs > 0 || users[1].reaper_jobs > 0)
		sd_event_run(event, UINT64_MAX);
}

/*
 * A socket without messages is closed at once, but not one in which a message waits, even an empty
 * one.
 */
static void an_empty_socket_is_closed_at_once(void **state)
{
	struct iovec nothing = {0};
	struct user user = {.references = 1};
	int ends[2];

	(void)state;
	for (unsigned messages = 0; messages < 3; messages++) {
		char control[CMSG_SPACE(sizeof(int))] = {0};
		struct msghdr message = {.msg_iov = &nothing,
					 .msg_iovlen = 1,
					 .msg_control = control,
					 .msg_controllen = sizeof control};
		struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(int));
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
		memcpy(CMSG_DATA(rights), &ends[1], sizeof(int));
		if (messages == 1)
			assert_int_equal(sendmsg(ends[1], &message, 0), 0);
		else if (messages == 2)
			assert_int_equal(send(ends[1], "text", 4, 0), 4);
		shutdown(ends[0], SHUT_RDWR);
		reaper_close_socket(reaper, &user, ends[0]);
		assert_int_equal(user.reaper_jobs, messages ? 1 : 0);
		while (user.reaper_jobs > 0)
			sd_event_run(event, UINT64_MAX);
		assert_int_equal(fcntl(ends[0], F_GETFD), -1);
		close(ends[1]);
	}
	reaper_close_socket(reaper, &user, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(a_socket_that_lingers_delays_its_own_user_alone),
		TEST(sockets_without_a_user_delay_no_user),
		TEST(many_that_linger_are_given_up),
		TEST(an_empty_socket_is_closed_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
