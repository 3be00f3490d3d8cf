/* SPDX-License-Identifier: BSD-3-Clause */
/* Clients that stop, hand their sessions on, do not read, or are signalled in crowds. */
#include "attacks.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libvdm.h>

#include "open_files.h"
#include "record_locks.h"
#include "slow_files.h"
#include "wire.h"

/* Send requests whose answers come with descriptors, and read none. */
void never_read(unsigned index)
{
	enum { SESSIONS = 60 };
	int sessions[SESSIONS];

	(void)index;
	for (unsigned i = 0; i < SESSIONS; i++)
		sessions[i] = -1;
	attack_ready();
	for (unsigned n = 0;; n++) {
		int *session = &sessions[n % SESSIONS];

		if (*session >= 0 && wire_send_status(*session) == 0) {
			wire_send_region_remove(*session, UINT32_MAX);
			continue;
		}
		if (*session >= 0)
			close(*session);
		*session = wire_session();
		attack_round();
	}
}

/* The states in which a client is stopped. */
static void reach_state(unsigned state, int memfd)
{
	const struct vdm_options options = {
		.size = sizeof options, .flags = VDM_OPTION_REQUIRE_DAEMON, .offload_threshold = 1};
	struct vdm_client *client;
	struct vdm_region *region;
	struct vdm_ring *ring;
	struct vdm_sqe *sqe;
	int session;

	switch (state) {
	case 0: /* connected */
		wire_connect();
		return;
	case 1: /* has greeted, and has not read the answer */
		session = wire_connect();
		wire_send_hello(session, NULL, 0);
		return;
	case 2: /* has asked for a region */
		session = wire_session();
		wire_send_region_add(session, memfd, 65536, 0);
		return;
	case 3: /* has asked for a report */
		session = wire_session();
		wire_send_status(session);
		return;
	case 4: /* waits for a child of vfork(2), which stops */
		session = wire_session();
		wire_send_status(session);
		if (vfork() == 0) {
			raise(SIGSTOP);
			_exit(0);
		}
		return;
	default: /* has operations in flight */
		if (vdm_client_open(&options, &client) != 0 ||
		    vdm_ring_open(client, NULL, &ring) != 0 ||
		    vdm_region_alloc(client, 32 << 20, &region) != 0)
			return;
		for (unsigned i = 0; i < 16 && (sqe = vdm_ring_get_sqe(ring)); i++)
			vdm_prep_memset(sqe, vdm_region_address(region), (int)i, 32 << 20, 0);
		vdm_ring_submit(ring);
	}
}

/* Children stop in every state, and after a while are killed; others come. */
void stopped(unsigned index)
{
	enum { CHILDREN = 40, STATES = 6 };
	pid_t children[CHILDREN] = {0};
	int memfd = wire_memfd(65536);

	(void)index;
	for (unsigned n = 0;; n++) {
		pid_t *child = &children[n % CHILDREN];

		if (*child > 0) {
			kill(*child, SIGKILL);
			waitpid(*child, NULL, 0);
		}
		*child = attack_fork();
		if (*child == 0) {
			reach_state(n % STATES, memfd);
			raise(SIGSTOP);
			_exit(0);
		}
		if (n == CHILDREN)
			attack_ready();
		attack_pause_ms(10);
		attack_round();
	}
}

/* A process connects and ends, and a stopped child keeps its session. */
void handed_on(unsigned index)
{
	int memfd = wire_memfd(65536);

	(void)index;
	attack_ready();
	for (;;) {
		pid_t owner = attack_fork();

		if (owner == 0) {
			for (unsigned state = 0; state < 4; state++)
				reach_state(state, memfd);
			if (fork() == 0) {
				raise(SIGSTOP);
				_exit(0);
			}
			_exit(0);
		}
		waitpid(owner, NULL, 0);
		attack_pause_ms(10);
		attack_round();
	}
}

static void *go_on_alone(void *argument)
{
	(void)argument;
	for (;;) {
		int session = wire_session();

		if (session >= 0)
			close(session);
		attack_round();
		attack_pause_ms(1);
	}
	return NULL;
}

/* The first thread of the process ends, so that the process looks dead, and others go on. */
void headless(unsigned index)
{
	(void)index;
	for (unsigned i = 0; i < 4; i++)
		attack_thread(go_on_alone, NULL);
	attack_ready();
	syscall(SYS_exit, 0);
}

/* Pending rather than ignored: a signal that is ignored is not queued. */
static void block_signal(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigaddset(&set, SIGIO); /* comes when no more can be queued, and kills */
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* Have every event of a file signal each process of the group. */
static void signal_group(int fd)
{
	fcntl(fd, F_SETOWN, -getpgrp());
	fcntl(fd, F_SETSIG, SIGRTMIN + 1);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC);
}

/*
 * Each answer and each signal to this client is a signal to two thousand processes (fcntl(2),
 * F_SETOWN), which is sent by the thread that answers.
 */
void sigio_group(unsigned index)
{
	enum { PROCESSES = 2400 };
	int session;

	(void)index;
	block_signal();
	for (unsigned i = 0; i < attack_scaled(PROCESSES); i++)
		if (attack_fork() == 0)
			for (;;)
				pause();
	session = wire_session();
	if (session < 0)
		attack_skip("no session");
	signal_group(session);
	attack_ready();
	while (wire_ping(session) == 0)
		attack_round();
	attack_pause_ms(1000000);
}

/* Do to a file that the daemon has, too, whatever a client can do to it. */
static void tamper_with(int fd)
{
	const uint64_t full = UINT64_MAX - 1;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	signal_group(fd);
	fcntl(fd, F_SETLEASE, F_WRLCK);
	fcntl(fd, F_NOTIFY, DN_MULTISHOT | DN_ACCESS | DN_MODIFY);
	flock(fd, LOCK_EX | LOCK_NB);
	record_locks_take(fd, F_SETLK, F_WRLCK, 100);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){INT_MAX}, sizeof(int));
	setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int));
	setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &(int){8}, sizeof(int));
	while (send(fd, &full, sizeof full, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		; /* until it is full, if it takes any */
	if (write(fd, &full, sizeof full) < 0) {
		/* it cannot be written, or is full */
	}
	/* without O_NONBLOCK, a thread that uses the same open file would wait */
	fcntl(fd, F_SETFL, O_ASYNC);
}

void doorbell_flags(unsigned index)
{
	static struct open_files before;
	const struct vdm_options options = {
		.size = sizeof options, .flags = VDM_OPTION_REQUIRE_DAEMON, .entries = 2};

	(void)index;
	block_signal();
	attack_ready();
	for (;;) {
		struct vdm_client *client;
		struct vdm_ring *ring;
		int shared[8];
		unsigned count = 0;

		if (vdm_client_open(&options, &client) != 0)
			continue;
		open_files_note(&before);
		if (vdm_ring_open(client, NULL, &ring) == 0)
			count = open_files_new(&before, "", shared, 8);
		for (unsigned i = 0; i < count; i++)
			tamper_with(shared[i]);
		attack_pause_ms(5);
		for (unsigned i = 0; i < count; i++)
			fcntl(shared[i], F_SETFL, O_NONBLOCK);
		if (count > 0)
			vdm_ring_close(ring);
		vdm_client_close(client);
		attack_round();
	}
}
