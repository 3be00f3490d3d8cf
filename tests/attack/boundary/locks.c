/* SPDX-License-Identifier: BSD-3-Clause */
/* Record locks on inodes that the daemon has files of. */
#include "attacks.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <libvdm.h>

#include "record_locks.h"
#include "wire.h"

#define SESSIONS     8
#define REGION_BYTES 4096

static void take_many(int fd, const char *what)
{
	unsigned count = attack_scaled(MANY_LOCKS);

	if (fd < 0 || record_locks_take(fd, F_SETLK, F_WRLCK, count) < count)
		attack_skip("%s cannot have %u locks: %s", what, count, strerror(errno));
}

void locks_region(unsigned index)
{
	int memfd = wire_memfd(REGION_BYTES), sessions[SESSIONS];

	(void)index;
	take_many(memfd, "a memfd");
	for (unsigned i = 0; i < SESSIONS; i++)
		sessions[i] = wire_session();
	attack_ready();
	for (;;) {
		uint32_t region;

		for (unsigned i = 0; i < SESSIONS; i++)
			wire_send_region_add(sessions[i], memfd, REGION_BYTES, 0);
		for (unsigned i = 0; i < SESSIONS; i++) {
			if (wire_receive(sessions[i], &region) < 0) {
				/* Not closed: that would give up the locks of this process. */
				sessions[i] = wire_session();
				continue;
			}
			wire_send_region_remove(sessions[i], region);
			wire_receive(sessions[i], NULL);
			attack_round();
		}
	}
}

void locks_pidfd(unsigned index)
{
	(void)index;
	take_many((int)syscall(SYS_pidfd_open, getpid(), 0), "a pidfd");
	attack_ready();
	for (;;) {
		int sessions[SESSIONS];

		for (unsigned i = 0; i < SESSIONS; i++)
			sessions[i] = wire_session();
		for (unsigned i = 0; i < SESSIONS; i++)
			if (sessions[i] >= 0)
				close(sessions[i]);
		attack_round();
	}
}

void locks_eventfd(unsigned index)
{
	const struct vdm_options options = {.size = sizeof options,
					    .flags = VDM_OPTION_REQUIRE_DAEMON};
	struct vdm_client *client;

	(void)index;
	take_many(eventfd(0, EFD_CLOEXEC), "an eventfd");
	attack_ready();
	for (;;) {
		struct vdm_ring *rings[SESSIONS] = {0};

		if (vdm_client_open(&options, &client) != 0) {
			attack_pause_ms(10);
			continue;
		}
		for (unsigned i = 0; i < SESSIONS; i++)
			vdm_ring_open(client, NULL, &rings[i]);
		for (unsigned i = 0; i < SESSIONS; i++)
			vdm_ring_close(rings[i]);
		vdm_client_close(client);
		attack_round();
	}
}
