/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* SD_LISTEN_FDS_START of sd_listen_fds(3). */
#define FIRST_PASSED 3

static int notify_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof address.sun_path)
		return -1;
	strcpy(address.sun_path, path);
	unlink(path);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Whether the message (sd_notify(3)) has the line READY=1. */
static int says_ready(const char *message)
{
	const char *line = message;

	while (line) {
		if (strncmp(line, "READY=1", 7) == 0)
			return 1;
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return 0;
}

/* Wait until the daemon says that it is ready, or ends. */
static void report_ready(pid_t daemon, int notify_fd, int report_fd)
{
	struct pollfd fds[] = {{.fd = notify_fd, .events = POLLIN},
			       {.fd = (int)syscall(SYS_pidfd_open, daemon, 0), .events = POLLIN}};
	char message[4096];

	for (;;) {
		if (fds[1].fd < 0 || poll(fds, 2, -1) < 0)
			_exit(1);
		if (!(fds[0].revents & POLLIN))
			_exit(1); /* it has ended */
		ssize_t length = recv(notify_fd, message, sizeof message - 1, 0);

		if (length < 0)
			_exit(1);
		message[length] = '\0';
		if (says_ready(message))
			_exit(write(report_fd, "ready\n", 6) != 6);
	}
}

int daemon_exec(const char *notify_path, int report_fd, char **argv)
{
	pid_t daemon = getpid();
	int notify_fd = notify_socket(notify_path);

	if (notify_fd < 0)
		return -1;
	/* Fork twice, so that the daemon has no child that it does not know. */
	pid_t child = fork();

	if (child < 0)
		return -1;
	if (child == 0) {
		if (fork() == 0)
			report_ready(daemon, notify_fd, report_fd);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	close(notify_fd);
	close(report_fd);
	setenv("NOTIFY_SOCKET", notify_path, 1);
	execv(argv[0], argv);
	return -1;
}

void daemon_prepare(struct daemon_process *daemon)
{
	*daemon = (struct daemon_process){.directory = "/tmp/vdmd-test.XXXXXX", .listener = -1};
	CHECK(mkdtemp(daemon->directory), "%s: %s", daemon->directory, strerror(errno));
	snprintf(daemon->socket, sizeof daemon->socket, "%s/vdmd.sock", daemon->directory);
	setenv("VDM_SOCKET", daemon->socket, 1);
}

/* As sd_listen_fds(3) finds it. */
static void pass_listener(int listener)
{
	char pid[16];

	snprintf(pid, sizeof pid, "%d", (int)getpid());
	CHECK(listener == FIRST_PASSED ? fcntl(listener, F_SETFD, 0) == 0
				       : dup2(listener, FIRST_PASSED) == FIRST_PASSED,
	      "%s", strerror(errno));
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
}

void daemon_listen(struct daemon_process *daemon)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, daemon->socket);
	/* a number that the daemon's other descriptors do not have */
	daemon->listener = fcntl(fd, F_DUPFD_CLOEXEC, 100);
	close(fd);
	CHECK(bind(daemon->listener, (struct sockaddr *)&address, sizeof address) == 0 &&
		      listen(daemon->listener, 128) == 0,
	      "%s", strerror(errno));
}

static void become_daemon(struct daemon_process *daemon, unsigned workers, int report_fd)
{
	char notify_path[sizeof daemon->directory + 16];
	char config_path[sizeof daemon->directory + 16];
	char count[16];
	/* a program in the daemon's place expects the socket first */
	char *argv[] = {getenv("VDMD"), "--socket", daemon->socket, "--workers",
			count,          "--config", config_path,    NULL};

	snprintf(count, sizeof count, "%u", workers);
	snprintf(notify_path, sizeof notify_path, "%s/notify", daemon->directory);
	snprintf(config_path, sizeof config_path, "%s/conf", daemon->directory);
	close(open(config_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	CHECK(argv[0], "$VDMD has to name the daemon");
	if (daemon->listener >= 0) {
		argv[1] = "--workers"; /* instead */
		argv[2] = count;
		argv[3] = "--config";
		argv[4] = config_path;
		argv[5] = NULL;
		pass_listener(daemon->listener);
	}
	daemon_exec(notify_path, report_fd, argv);
	CHECK(0, "%s: %s", argv[0], strerror(errno));
}

void daemon_start(struct daemon_process *daemon, unsigned workers)
{
	char ready;
	int ends[2];

	CHECK(pipe2(ends, O_CLOEXEC) == 0, "%s", strerror(errno));
	daemon->pid = fork();
	CHECK(daemon->pid >= 0, "%s", strerror(errno));
	if (daemon->pid == 0)
		become_daemon(daemon, workers, ends[1]);
	close(ends[1]);
	CHECK(read(ends[0], &ready, 1) == 1, "the daemon ended before it was ready");
	close(ends[0]);
}

void daemon_kill(struct daemon_process *daemon)
{
	kill(daemon->pid, SIGKILL);
	waitpid(daemon->pid, NULL, 0);
	daemon->pid = 0;
}

int daemon_stop(struct daemon_process *daemon)
{
	int status = 0;

	kill(daemon->pid, SIGTERM);
	waitpid(daemon->pid, &status, 0);
	daemon->pid = 0;
	return status;
}

void daemon_remove(struct daemon_process *daemon)
{
	static const char *const files[] = {"vdmd.sock", "vdmd.sock.lock", "notify", "conf"};
	char path[sizeof daemon->directory + 16];

	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		snprintf(path, sizeof path, "%s/%s", daemon->directory, files[i]);
		unlink(path);
	}
	rmdir(daemon->directory);
}
