/* SPDX-License-Identifier: BSD-3-Clause */
/* Record locks on files of proc(5) that the daemon may open: those of the client, and its own. */
#include "attacks.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <libvdm.h>

#include "record_locks.h"
#include "wire.h"

#define LOCKS_OF_A_FILE 250000
#define MOST_FILES      40

static unsigned locked;

static void lock_file(const char *path, short type)
{
	int fd = open(path, (type == F_WRLCK ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || locked >= MOST_FILES)
		return;
	if (record_locks_take(fd, F_SETLK, type, attack_scaled(LOCKS_OF_A_FILE)) > 1)
		locked++;
}

/* The files that a daemon looks at to learn about a process. */
static void lock_process(const char *folder, short type)
{
	static const char *const names[] = {"stat",     "status", "comm",  "cmdline",  "cgroup",
					    "loginuid", "maps",   "statm", "schedstat"};
	char path[160];

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, "%s/%s", folder, names[i]);
		lock_file(path, type);
	}
}

static void connect_and_leave(void)
{
	attack_ready();
	for (;;) {
		int session = wire_session();

		if (session < 0)
			continue;
		close(session);
		attack_round();
	}
}

void locks_own_proc(unsigned index)
{
	(void)index;
	lock_file("/proc/self/comm", F_WRLCK);
	lock_process("/proc/self", F_RDLCK);
	connect_and_leave();
}

/* Operations that take long: the daemon then looks at its workers. */
static void submit_large(void)
{
	enum { BYTES = 32 << 20 };
	const struct vdm_options options = {
		.size = sizeof options, .flags = VDM_OPTION_REQUIRE_DAEMON, .entries = 16};
	struct vdm_client *client;
	struct vdm_region *region;
	struct vdm_ring *ring;
	struct vdm_sqe *sqe;
	struct vdm_cqe *cqe;

	if (vdm_client_open(&options, &client) != 0 || vdm_ring_open(client, NULL, &ring) != 0 ||
	    vdm_region_alloc(client, BYTES, &region) != 0)
		return;
	attack_ready();
	for (;;) {
		while ((sqe = vdm_ring_get_sqe(ring)))
			vdm_prep_memset(sqe, vdm_region_address(region), 0, BYTES, 0);
		vdm_ring_submit(ring);
		if (vdm_ring_wait_cqe(ring, &cqe) != 0)
			return;
		vdm_ring_cqe_seen(ring, cqe);
	}
}

/* The files of the daemon and of its threads. */
static void lock_daemon(void)
{
	char path[64], task[160];

	snprintf(path, sizeof path, "/proc/%d/task", (int)attack_daemon());
	DIR *tasks = opendir(path);

	if (!tasks)
		attack_skip("the daemon's files in /proc cannot be seen");
	for (const struct dirent *e; (e = readdir(tasks));) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(task, sizeof task, "%s/%.20s/stat", path, e->d_name);
		lock_file(task, F_RDLCK);
	}
	closedir(tasks);
	snprintf(path, sizeof path, "/proc/%d", (int)attack_daemon());
	lock_process(path, F_RDLCK);
	if (!locked)
		attack_skip("no file of the daemon in /proc can be locked");
}

void locks_daemon_proc(unsigned index)
{
	switch (index) {
	case 0:
		lock_daemon();
		connect_and_leave();
		break;
	case 1:
		submit_large();
		break;
	default:
		attack_ready();
		for (volatile unsigned long n = 0;; n++)
			;
	}
}
