/* SPDX-License-Identifier: BSD-3-Clause */
/* daemon/listener.c: opening the socket, whatever lies at its path. */
#include "daemon/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/vdmd-test-listener.XXXXXX";
static char path[64];
static char error[512];

static int open_listener(struct listener *listener)
{
	error[0] = '\0';
	return listener_open(path, listener, error, sizeof error);
}

static void it_is_for_user_and_group_and_removed_at_the_end(void **state)
{
	struct listener listener;
	struct stat status;

	(void)state;
	assert_int_equal(open_listener(&listener), 0);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode, S_IFSOCK | 0660);
	listener_close(&listener);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_second_daemon_is_refused(void **state)
{
	struct listener first, second;

	(void)state;
	assert_int_equal(open_listener(&first), 0);
	assert_int_equal(open_listener(&second), -EADDRINUSE);
	assert_non_null(strstr(error, "running"));
	listener_close(&first);
}

static void what_a_killed_one_left_is_replaced(void **state)
{
	struct listener killed, next;

	(void)state;
	assert_int_equal(open_listener(&killed), 0);
	close(killed.fd);
	assert_int_equal(open_listener(&next), 0);
	listener_close(&next);
	assert_int_equal(access(path, F_OK), -1);
}

static void other_files_are_left_alone(void **state)
{
	struct listener listener;
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	(void)state;
	close(fd);
	assert_int_equal(open_listener(&listener), -EADDRINUSE);
	assert_non_null(strstr(error, "not a socket"));
	assert_int_equal(unlink(path), 0);
}

static void a_missing_directory_is_named(void **state)
{
	struct listener listener;

	(void)state;
	assert_int_equal(listener_open("/nonexistent/vdmd.sock", &listener, error, sizeof error),
			 -ENOENT);
	assert_non_null(strstr(error, "/nonexistent/vdmd.sock"));
	assert_non_null(strstr(error, "directory"));
}

/* As sd_listen_fds(3) finds them: descriptor 3, for this process. */
static void pass(int fd)
{
	char pid[16];

	if (fd != 3) {
		dup2(fd, 3);
		close(fd);
	}
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
}

static void a_passed_socket_is_used_and_another_kind_is_refused(void **state)
{
	struct listener own, passed;
	int saved = fcntl(3, F_DUPFD_CLOEXEC, 10);

	(void)state;
	assert_int_equal(open_listener(&own), 0);
	pass(dup(own.fd));
	assert_int_equal(listener_open("/nonexistent/vdmd.sock", &passed, error, sizeof error), 0);
	assert_int_equal(passed.fd, 3);
	assert_true(fcntl(3, F_GETFL) & O_NONBLOCK);
	listener_close(&passed);
	assert_int_equal(access(path, F_OK), 0); /* it is not ours to remove */

	pass(socket(AF_UNIX, SOCK_STREAM, 0));
	assert_int_equal(open_listener(&passed), -EINVAL);
	assert_non_null(strstr(error, "ListenSequentialPacket"));
	close(3);
	listener_close(&own);
	if (saved >= 0) {
		dup2(saved, 3);
		close(saved);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_for_user_and_group_and_removed_at_the_end),
		cmocka_unit_test(a_second_daemon_is_refused),
		cmocka_unit_test(what_a_killed_one_left_is_replaced),
		cmocka_unit_test(other_files_are_left_alone),
		cmocka_unit_test(a_missing_directory_is_named),
		cmocka_unit_test(a_passed_socket_is_used_and_another_kind_is_refused),
	};

	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof path, "%s/vdmd.sock", directory);

	int result = cmocka_run_group_tests(tests, NULL, NULL);

	unlink(path);
	rmdir(directory);
	return result;
}
