/* SPDX-License-Identifier: BSD-3-Clause */
/* Long wait queues at files whose other end, or whose other descriptor, the daemon has. */
#include "attacks.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <libvdm.h>

#include "ring_sockets.h"
#include "waiters.h"
#include "wire.h"

#define WAITING_THREADS 160
#define RINGING_THREADS 24

/* Each waits for so many descriptors of one file. */
#define EPOLLS            1000
#define EPOLL_DESCRIPTORS 1000

static struct open_files before;

/* A connected client; NULL: none can be had now. */
static struct vdm_client *open_client(void)
{
	const struct vdm_options options = {.size = sizeof options,
					    .flags = VDM_OPTION_REQUIRE_DAEMON,
					    .entries = 16,
					    .spin_us = VDM_NO_SPIN,
					    .offload_threshold = 1};
	struct vdm_client *client;

	return vdm_client_open(&options, &client) == 0 ? client : NULL;
}

void waiters_session(unsigned index)
{
	static struct waiters waiters;
	int session = wire_session();

	(void)index;
	if (session < 0)
		attack_skip("no session");
	waiters_start(&waiters, session, attack_scaled(WAITING_THREADS), -1);
	attack_ready();
	while (wire_ping(session) == 0)
		attack_round();
	/* the daemon has ended the session */
	attack_pause_ms(100000);
}

/* Copy with waits that sleep, so that the daemon signals each completion. */
static void copy_and_sleep(struct vdm_ring *ring, char *memory)
{
	struct vdm_cqe *cqe;

	for (;;) {
		struct vdm_sqe *sqe = vdm_ring_get_sqe(ring);

		if (!sqe)
			return;
		vdm_prep_memcpy(sqe, memory + 4096, memory, 4096, 0);
		if (vdm_ring_submit(ring) != 1 || vdm_ring_wait_cqe(ring, &cqe) != 0)
			return;
		vdm_ring_cqe_seen(ring, cqe);
		attack_round();
	}
}

/* Returns the event socket of a ring, which operations can use with the memory. */
static int open_ring(struct vdm_ring **ring, char **memory)
{
	struct vdm_client *client = open_client();
	struct vdm_region *region = NULL;
	int event;

	if (client)
		vdm_region_alloc(client, 8192, &region);
	open_files_note(&before);
	if (!region || vdm_ring_open(client, NULL, ring) != 0)
		attack_skip("no ring");
	if (ring_sockets_events(&before, &event, 1) != 1)
		attack_skip("a ring has no socket for signals");
	*memory = vdm_region_address(region);
	return event;
}

void waiters_event(unsigned index)
{
	static struct waiters waiters;
	struct vdm_ring *ring;
	char *memory;
	int event = open_ring(&ring, &memory);

	(void)index;
	waiters_start(&waiters, event, attack_scaled(WAITING_THREADS), -1);
	attack_ready();
	copy_and_sleep(ring, memory);
	attack_pause_ms(100000);
}

/* Nothing runs when these are woken: only the thread that signals takes its time. */
static int epolls[EPOLLS], copies[EPOLL_DESCRIPTORS];

/* Have many epoll instances wait for a file, by many descriptors each. */
static void crowd(int fd, unsigned count)
{
	for (unsigned i = 0; i < EPOLL_DESCRIPTORS; i++)
		copies[i] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	for (unsigned i = 0; i < count; i++) {
		epolls[i] = epoll_create1(EPOLL_CLOEXEC);
		for (unsigned j = 0; j < EPOLL_DESCRIPTORS; j++)
			epoll_ctl(epolls[i], EPOLL_CTL_ADD, copies[j],
				  &(struct epoll_event){.events = EPOLLIN | EPOLLET});
	}
}

static void disperse(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		close(epolls[i]);
	for (unsigned i = 0; i < EPOLL_DESCRIPTORS; i++)
		close(copies[i]);
}

void waiters_epoll(unsigned index)
{
	struct vdm_ring *ring;
	char *memory;
	int event = open_ring(&ring, &memory);

	(void)index;
	crowd(event, attack_scaled(EPOLLS));
	attack_ready();
	copy_and_sleep(ring, memory);
	attack_pause_ms(100000);
}

void waiters_refused(unsigned index)
{
	const unsigned count = attack_scaled(EPOLLS);

	(void)index;
	while (wire_session() >= 0) /* as many as there may be: others are refused */
		;
	attack_ready();
	for (;;) {
		int client = wire_socket();

		crowd(client, count);
		if (wire_connect_socket(client) == 0 && wire_send_hello(client, NULL, 0) == 0) {
			wire_receive(client, NULL);
			attack_round();
		}
		disperse(count);
		close(client);
	}
}

/* The doorbell that is being hammered; -1: none. */
static _Atomic int hammered = -1;

static void *hammer(void *argument)
{
	(void)argument;
	for (;;) {
		int fd = atomic_load(&hammered);

		if (fd < 0)
			attack_pause_ms(1);
		else
			ring_doorbell(fd);
	}
	return NULL;
}

/* Close a ring whose doorbell has many waiters, and is being hammered. */
static bool close_while_ringing(struct waiters *waiters, struct vdm_client *client)
{
	struct vdm_ring *ring;
	int doorbell, copy;

	open_files_note(&before);
	if (vdm_ring_open(client, NULL, &ring) != 0)
		return false;
	if (ring_sockets_doorbells(&before, &doorbell, 1) != 1)
		attack_skip("a ring has no doorbell");
	copy = dup(doorbell); /* the waiters keep it */
	waiters_turn_to(waiters, copy);
	atomic_store(&hammered, copy);
	attack_ready();
	attack_pause_ms(20);
	attack_round(); /* now, because its end may have to wait for its own waiters */
	vdm_ring_close(ring);
	atomic_store(&hammered, -1);
	waiters_turn_to(waiters, -1);
	close(copy);
	return true;
}

void waiters_doorbell(unsigned index)
{
	static struct waiters waiters;

	(void)index;
	waiters_start(&waiters, -1, attack_scaled(RINGING_THREADS), 200);
	for (unsigned i = 0; i < 2; i++)
		attack_thread(hammer, NULL);
	for (;;) {
		struct vdm_client *client = open_client();

		while (client && close_while_ringing(&waiters, client))
			;
		vdm_client_close(client);
		attack_pause_ms(10);
	}
}
