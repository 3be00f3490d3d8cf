/* SPDX-License-Identifier: BSD-3-Clause */
/* Files of a file system whose server does not let them be closed. */
#include "attacks.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "delivery.h"
#include "fuse_server.h"
#include "wire.h"

static int mount_error;

void fuse_prepare(unsigned index)
{
	static char directory[160];

	(void)index;
	snprintf(directory, sizeof directory, "%s/mount", attack_directory());
	mount_error = fuse_server_mount(directory, ATTACKER_UID_0);
}

/* Closing it in this process would hang as well, so it stays open. */
static void have_flushed(unsigned at_once, enum delivery first, unsigned ways)
{
	int fds[WIRE_MOST_FDS];

	if (mount_error)
		attack_skip("FUSE is not available: %s", strerror(-mount_error));

	int fd = fuse_server_open();

	if (fd < 0)
		attack_skip("a file of FUSE cannot be opened: %s", strerror(-fd));
	for (unsigned i = 0; i < at_once; i++)
		fds[i] = fd;
	attack_ready();
	for (unsigned n = 0;; n++) {
		if (deliver(first + n % ways, fds, at_once, true) == 0)
			attack_round();
		else
			attack_pause_ms(10);
	}
}

static char *mapped;

static void *receive_into_it(void *argument)
{
	const int *session = argument;

	for (;;)
		if (recv(*session, mapped, 4096, 0) < 0)
			attack_pause_ms(1);
	return NULL;
}

/* The server does not answer READ either: a receiver waits in the middle of it. */
void fuse_buffers(unsigned index)
{
	enum { SESSIONS = 40 };
	static int sessions[SESSIONS];

	(void)index;
	if (mount_error)
		attack_skip("FUSE is not available: %s", strerror(-mount_error));

	int fd = fuse_server_open();

	mapped = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mapped == MAP_FAILED)
		attack_skip("a file of FUSE cannot be mapped");
	for (unsigned i = 0; i < SESSIONS; i++) {
		sessions[i] = wire_session();
		attack_thread(receive_into_it, &sessions[i]);
	}
	attack_ready();
	for (unsigned i = 0;; i++) {
		if (wire_send_region_remove(sessions[i % SESSIONS], UINT32_MAX) == 0)
			attack_round();
		attack_pause_ms(1);
	}
}

void fuse_one(unsigned index)
{
	(void)index;
	have_flushed(1, DELIVERY_MALFORMED, DELIVERY_COUNT);
}

void fuse_many(unsigned index)
{
	(void)index;
	have_flushed(64, DELIVERY_MALFORMED, DELIVERY_COUNT);
}
