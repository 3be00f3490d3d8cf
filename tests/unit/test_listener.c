/* SPDX-License-Identifier: BSD-3-Clause */
/* daemon/listener.c: opening the socket, whatever lies at its path. */
#include "daemon/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/control.h"
#include "proto/passing.h"

static char directory[] = "/tmp/vdmd-test-listener.XXXXXX";
static char path[64], lock[80];
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

/* Nothing is slow to close then of a client that is refused, or that nobody accepts. */
static void clients_cannot_send_descriptors_yet(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct listener listener;
	int client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), fd = STDIN_FILENO, accepted;

	(void)state;
	strcpy(address.sun_path, path);
	assert_int_equal(open_listener(&listener), 0);
	if (passing_allows_fds(listener.fd)) {
		listener_close(&listener);
		close(client);
		skip();
	}
	assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(passing_send(client, "", 1, &fd, 1, 0), -EPERM);
	accepted = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC);
	assert_false(passing_allows_fds(accepted));
	assert_int_equal(passing_send(client, "", 1, &fd, 1, 0), -EPERM);
	passing_allow_fds(accepted, true);
	assert_int_equal(passing_send(client, "", 1, &fd, 1, 0), 0);
	close(accepted);
	close(client);
	listener_close(&listener);
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
	close(killed.lock_fd);
	assert_int_equal(open_listener(&next), 0);
	listener_close(&next);
	assert_int_equal(access(path, F_OK), -1);
}

static void leave_stale_socket(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	unlink(path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	close(fd);
}

enum { DAEMONS = 2 };

/*
 * A daemon that starts when all have come to the barrier. Exits with 1 if it got the socket, 0 if
 * another one did.
 */
static void start_daemon(pthread_barrier_t *meet)
{
	struct listener listener;

	pthread_barrier_wait(meet);
	int result = open_listener(&listener);

	pthread_barrier_wait(meet);
	if (!result)
		listener_close(&listener);
	_exit(result == 0 ? 1 : result == -EADDRINUSE ? 0 : 100);
}

static unsigned exit_status_of_a_child(void)
{
	int status;

	assert_true(wait(&status) > 0 && WIFEXITED(status));
	return (unsigned)WEXITSTATUS(status);
}

/* Of several daemons that find a stale socket at one moment, one gets its place. */
static void of_daemons_that_start_at_once_one_stays(void **state)
{
	enum { ROUNDS = 300 };
	pthread_barrier_t *meet =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t shared;

	(void)state;
	assert_ptr_not_equal(meet, MAP_FAILED);
	pthread_barrierattr_init(&shared);
	pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	assert_int_equal(pthread_barrier_init(meet, &shared, DAEMONS), 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned stayed = 0;

		leave_stale_socket();
		for (unsigned i = 0; i < DAEMONS; i++)
			if (fork() == 0)
				start_daemon(meet);
		for (unsigned i = 0; i < DAEMONS; i++)
			stayed += exit_status_of_a_child();
		assert_int_equal(stayed, 1);
	}
	munmap(meet, 4096);
}

/*
 * A daemon that waits for the lock of another one that ends has opened the file that is being
 * removed.
 */
static void a_lock_that_was_removed_meanwhile_is_none(void **state)
{
	struct listener listener;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		int fd = open(lock, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

		assert_int_equal(flock(fd, LOCK_EX), 0);
		assert_int_equal(open_listener(&listener), -EADDRINUSE);
		assert_non_null(strstr(error, "running"));
		assert_int_equal(unlink(lock), 0);
		assert_int_equal(open_listener(&listener), 0);
		close(fd);
		listener_close(&listener);
		assert_int_equal(access(lock, F_OK), -1);
	}
}

/* Other users may be able to put something in its place. */
static void a_lock_that_is_no_plain_file_is_named(void **state)
{
	struct listener listener;
	char target[80];

	(void)state;
	snprintf(target, sizeof target, "%s/target", directory);
	assert_int_equal(symlink(target, lock), 0);
	assert_int_equal(open_listener(&listener), -ELOOP);
	assert_non_null(strstr(error, lock));
	assert_non_null(strstr(error, "plain file"));
	assert_int_equal(access(target, F_OK), -1);
	assert_int_equal(unlink(lock), 0);

	assert_int_equal(mkfifo(lock, 0600), 0);
	assert_int_equal(open_listener(&listener), -EEXIST);
	assert_non_null(strstr(error, "plain file"));
	assert_int_equal(unlink(lock), 0); /* it is not removed: it may be another's */

	assert_int_equal(mkdir(lock, 0700), 0);
	assert_true(open_listener(&listener) < 0);
	assert_non_null(strstr(error, lock));
	assert_int_equal(rmdir(lock), 0);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_directory_that_cannot_be_written_is_named(void **state)
{
	int status;

	(void)state;
	assert_int_equal(chmod(directory, 0500), 0);
	if (fork() == 0) {
		struct listener listener;

		if (geteuid() == 0 && setuid(65534) < 0)
			_exit(1);
		_exit(open_listener(&listener) != -EACCES || !strstr(error, "cannot create") ||
		      !strstr(error, path));
	}
	wait(&status);
	assert_int_equal(chmod(directory, 0700), 0);
	assert_int_equal(status, 0);
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

/*
 * A daemon that cannot serve tells all clients, those that wait and those that come. It leaves none
 * in the queue.
 */
static void a_daemon_that_cannot_serve_says_so(void **state)
{
	const struct vdm_message_hello hello = {.header = {VDM_MESSAGE_HELLO, sizeof hello}};
	struct listener own;
	int clients[3], saved = fcntl(3, F_DUPFD_CLOEXEC, 10);

	(void)state;
	if (saved < 0) /* or it would be the listener's own */
		assert_int_equal(open("/dev/null", O_RDONLY | O_CLOEXEC), 3);
	assert_int_equal(open_listener(&own), 0);
	for (unsigned i = 0; i < 3; i++) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};

		strcpy(address.sun_path, path);
		clients[i] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(clients[i], (struct sockaddr *)&address, sizeof address),
				 0);
		if (i > 0)
			assert_int_equal(vdm_packet_send(clients[i], &hello.header, NULL, 0), 0);
	}
	close(clients[2]);
	pass(dup(own.fd));
	listener_turn_away(1, "there is a reason");
	for (unsigned i = 0; i < 2; i++) {
		struct vdm_packet reply;

		assert_int_equal(vdm_packet_receive(clients[i], &reply, 0), 0);
		assert_int_equal(reply.message.header.type, VDM_MESSAGE_REFUSED);
		assert_int_equal(reply.message.refused.request, VDM_MESSAGE_HELLO);
		assert_int_equal(reply.message.refused.error, -ECONNREFUSED);
		assert_string_equal(reply.message.refused.text, "there is a reason");
		assert_int_equal(vdm_packet_receive(clients[i], &reply, 0), -ENOTCONN);
		close(clients[i]);
	}
	assert_int_equal(accept4(own.fd, NULL, NULL, SOCK_NONBLOCK), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(access(path, F_OK), 0);
	listener_close(&own);
	unsetenv("LISTEN_FDS");
	listener_turn_away(100, "without a passed socket there is nothing to do");
	if (saved >= 0) {
		dup2(saved, 3);
		close(saved);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_for_user_and_group_and_removed_at_the_end),
		cmocka_unit_test(clients_cannot_send_descriptors_yet),
		cmocka_unit_test(a_second_daemon_is_refused),
		cmocka_unit_test(what_a_killed_one_left_is_replaced),
		cmocka_unit_test(of_daemons_that_start_at_once_one_stays),
		cmocka_unit_test(a_lock_that_was_removed_meanwhile_is_none),
		cmocka_unit_test(a_lock_that_is_no_plain_file_is_named),
		cmocka_unit_test(a_directory_that_cannot_be_written_is_named),
		cmocka_unit_test(other_files_are_left_alone),
		cmocka_unit_test(a_missing_directory_is_named),
		cmocka_unit_test(a_passed_socket_is_used_and_another_kind_is_refused),
		cmocka_unit_test(a_daemon_that_cannot_serve_says_so),
	};

	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof path, "%s/vdmd.sock", directory);
	snprintf(lock, sizeof lock, "%s.lock", path);

	int result = cmocka_run_group_tests(tests, NULL, NULL);

	unlink(path);
	unlink(lock);
	rmdir(directory);
	return result;
}
