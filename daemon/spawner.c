/* SPDX-License-Identifier: BSD-3-Clause */
#include "spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "birth.h"
#include "proto/passing.h"

/* Children that hang up at a time. */
#define MOST_REFUSALS 32

/* How soon to try again when there are as many processes as there may be, or no memory. */
#define RETRY_MS   10
#define MOST_TRIES 20

/* The spawner's end of both sockets, and what the processes run. */
struct ends {
	int births, refusals;
	const spawner_mains *mains;
};

/*
 * Have the kernel end this process with its parent, which has only one thread or has called this in
 * its first (prctl(2)): also a process that its user has taken over, or that is stopped, and a
 * spawner that waits to fork.
 */
static void end_with(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_FAILURE);
}

/* Close all descriptors but the standard ones and two others, which may be the same. */
static void close_all_but(int one, int other)
{
	const unsigned low = (unsigned)(one < other ? one : other),
		       high = (unsigned)(one < other ? other : one);

	if (low > STDERR_FILENO + 1)
		syscall(SYS_close_range, STDERR_FILENO + 1, low - 1, 0);
	if (high > low + 1)
		syscall(SYS_close_range, low + 1, high - 1, 0);
	syscall(SYS_close_range, high + 1, ~0u, 0);
}

/* Wait until the parent has closed its end of a pipe. */
static void await_end(int pipe_end)
{
	char byte;

	while (read(pipe_end, &byte, 1) < 0 && errno == EINTR)
		;
}

/* The children that hang up; 0: a free place. */
static pid_t refusing[MOST_REFUSALS];

static pid_t *find_place(pid_t child)
{
	for (unsigned i = 0; i < MOST_REFUSALS; i++)
		if (refusing[i] == child)
			return &refusing[i];
	return NULL;
}

static void bury_children(void)
{
	pid_t child, *place;

	while ((child = waitpid(-1, NULL, WNOHANG)) > 0)
		if ((place = find_place(child)))
			*place = 0;
}

/*
 * Fork a child that reads `go` at its end of a pipe when the spawner has closed the other. Returns
 * its process id, 0 in the child; or -1 after so many tries: there are as many processes or
 * descriptors as there may be, or no memory.
 */
static pid_t fork_waiting(int go[2], unsigned most_tries)
{
	pid_t child = -1;

	for (unsigned tries = 0; tries < most_tries && child < 0; tries++) {
		if (tries > 0)
			poll(NULL, 0, RETRY_MS);
		bury_children(); /* or they would keep what others need */
		if (pipe2(go, O_CLOEXEC) < 0)
			continue;
		child = fork();
		if (child < 0) {
			close(go[0]);
			close(go[1]);
		}
	}
	return child;
}

static void new_process(void (*run)(int socket), int socket)
{
	const pid_t spawner = getpid();
	int go[2];
	pid_t child = fork_waiting(go, MOST_TRIES);

	if (child < 0) {
		close(socket); /* its clerk notices */
		return;
	}
	if (child == 0) {
		end_with(spawner);
		close(go[1]);
		close_all_but(socket, go[0]);
		await_end(go[0]);
		close(go[0]);
		run(socket);
		abort();
	}
	/* before the process can say anything */
	if (!birth_announce(socket, child))
		kill(child, SIGKILL);
	close(socket);
	close(go[0]);
	close(go[1]);
}

/*
 * The parent closes its copy of the socket first, so that the child's is the last one. Returns the
 * child, or 0: there is none, and the client has been refused without one. Or -1: it is to be tried
 * again.
 */
static pid_t refuse_client(int socket, const struct vdm_message_refused *refused)
{
	const pid_t spawner = getpid();
	/* or else there are no descriptors in it, and closing it ends */
	const bool needs_child = passing_allows_fds(socket);
	int go[2];
	pid_t child = fork_waiting(go, needs_child ? MOST_TRIES : 1);

	if (child < 0 && needs_child)
		return -1;
	if (child < 0) {
		vdm_packet_send(socket, &refused->header, NULL, 0);
		close(socket);
		return 0;
	}
	if (child == 0) {
		end_with(spawner);
		close_all_but(socket, go[0]);
		vdm_packet_send(socket, &refused->header, NULL, 0);
		shutdown(socket, SHUT_RDWR);
		await_end(go[0]);
		_exit(EXIT_SUCCESS);
	}
	close(socket);
	close(go[0]);
	close(go[1]);
	return child;
}

/*
 * Exits when the daemon has ended. Returns whether there was a message, and stores the descriptor
 * that came with it, or -1.
 */
static bool receive(int from, void *bytes, size_t size, int *fd)
{
	struct passing passing = {.bytes = bytes, .size = size, .fds = fd, .fd_count = 1};
	int result = passing_receive(from, &passing, MSG_DONTWAIT);

	if (passing_may_retry(result))
		poll(NULL, 0, RETRY_MS);
	if (result == -EAGAIN || passing_may_retry(result))
		return false;
	if (result || passing.size == 0)
		_exit(EXIT_SUCCESS);
	if (passing.fd_count == 0)
		*fd = -1;
	return true;
}

/* `quiet`: a mask that lets SIGCHLD interrupt the wait. */
static void serve(const struct ends *ends, const sigset_t *quiet)
{
	struct vdm_message_refused refused;
	int client = -1; /* that is to be told so */

	for (;;) {
		struct pollfd events[] = {{.fd = ends->births, .events = POLLIN},
					  {.fd = ends->refusals, .events = POLLIN}};
		struct vdm_message_refused message;
		pid_t *place;
		uint8_t kind;
		int fd;

		bury_children();
		place = find_place(0);
		if (ppoll(events, place ? 2 : 1, NULL, quiet) <= 0)
			continue;
		if (events[0].revents && receive(ends->births, &kind, 1, &fd) && fd >= 0)
			new_process((*ends->mains)[kind], fd);
		if (!place || !events[1].revents ||
		    !receive(ends->refusals, &message, sizeof message, &fd))
			continue;
		if (fd >= 0) {
			client = fd;
			refused = message;
		} else if (client >= 0) { /* go: the daemon has closed its own descriptor */
			pid_t child;

			while ((child = refuse_client(client, &refused)) < 0)
				;
			*place = child;
			client = -1;
		}
	}
}

static void on_child(int signal)
{
	(void)signal;
}

static _Noreturn void spawner_main(const struct ends *ends)
{
	const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGIO};
	const struct sigaction child = {.sa_handler = on_child};
	sigset_t none, children;

	/* it ends with the daemon, also where signals go to the whole group */
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		signal(ignored[i], SIG_IGN);
	sigaction(SIGCHLD, &child, NULL);
	sigemptyset(&none);
	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_SETMASK, &children, NULL);
	prctl(PR_SET_NAME, "vdmd-spawner");
	close_all_but(ends->births, ends->refusals);
	serve(ends, &none);
	abort();
}

static int open_pair(int *ours, int *theirs)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	*ours = ends[0];
	*theirs = ends[1];
	return 0;
}

int spawner_start(struct spawner *spawner, const spawner_mains *mains)
{
	const pid_t daemon = getpid();
	struct ends ends = {-1, -1, mains};
	pid_t child = -1;
	int result;

	*spawner = (struct spawner){.births = -1, .refusals = -1};
	result = open_pair(&spawner->births, &ends.births);
	if (!result)
		result = open_pair(&spawner->refusals, &ends.refusals);
	if (!result) {
		child = fork();
		result = child < 0 ? -errno : 0;
	}
	if (child == 0) {
		end_with(daemon);
		spawner_main(&ends);
	}
	if (ends.births >= 0)
		close(ends.births);
	if (ends.refusals >= 0)
		close(ends.refusals);
	if (result)
		spawner_stop(spawner);
	return result;
}

void spawner_stop(struct spawner *spawner)
{
	if (spawner->births >= 0)
		close(spawner->births);
	if (spawner->refusals >= 0)
		close(spawner->refusals);
	*spawner = (struct spawner){.births = -1, .refusals = -1};
}

int spawner_new_process(const struct spawner *spawner, enum spawner_kind kind, int socket)
{
	const uint8_t byte = (uint8_t)kind;

	return passing_send(spawner->births, &byte, 1, &socket, 1, MSG_DONTWAIT);
}

int spawner_flush(struct spawner *spawner)
{
	const struct vdm_message_refused go = {0};

	if (spawner->owes_go &&
	    passing_send(spawner->refusals, &go, sizeof go, NULL, 0, MSG_DONTWAIT) == -EAGAIN)
		return -EAGAIN;
	spawner->owes_go = false;
	return 0;
}

int spawner_refuse(struct spawner *spawner, int socket, const struct vdm_message_refused *refused)
{
	int result = spawner_flush(spawner);

	if (!result)
		result = passing_send(spawner->refusals, refused, sizeof *refused, &socket, 1,
				      MSG_DONTWAIT);
	if (result)
		return result;
	close(socket); /* the spawner waits for this, so ours is not the last one */
	spawner->owes_go = true;
	spawner_flush(spawner);
	return 0;
}
