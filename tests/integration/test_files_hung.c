/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file system does not answer a client's read, write, sync or close, by the filer. The daemon
 * serves memory to clients of this user and of another one, also to new ones; the client's session
 * ends when the client is killed; and the daemon ends at SIGTERM. Nothing here measures time: what
 * waits for the file system ends at the test's guard against hanging.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "client_processes.h"
#include "daemon_process.h"
#include "filer_process.h"
#include "fuse_file.h"
#include "process_figures.h"
#include "ring_use.h"
#include "scale.h"

#define BYTES ((size_t)64 << 10)
#define OTHER 65534 /* a user id */

static struct fuse_file fuse;

static const char *const names[FUSE_FILE_REQUESTS] = {"read", "write", "sync", "close"};

static void prepare(struct vdm_ring *ring, enum fuse_request request, char *in_file, char *memory)
{
	struct vdm_sqe *sqe = entry(ring);

	if (request == FUSE_FILE_READ)
		vdm_prep_memcpy(sqe, memory, in_file, BYTES, 0);
	else if (request == FUSE_FILE_WRITE)
		vdm_prep_memcpy(sqe, in_file, memory, BYTES, 0);
	else
		vdm_prep_flush(sqe, in_file, BYTES, 0);
}

/* Have the filer do what does not end. */
static void hang(unsigned request, void *ready)
{
	struct vdm_client *client = client_opened();
	struct vdm_ring *ring = ring_opened(client, 16, 0);
	struct vdm_region *memory_region, *region;
	char *memory = region_opened(client, BYTES, &memory_region);
	int fd = fuse_file_open(&fuse);
	struct vdm_cqe *cqe;

	CHECK(vdm_region_open_file(client, fd, 0, FUSE_BYTES, 0, &region) == 0, "a region");

	char *in_file = vdm_region_address(region);

	vdm_prep_memcpy(entry(ring), in_file, memory, BYTES, 0);
	CHECK(run_one(ring) == 0, "a write");
	CHECK(counters_of(client).file_offloaded == 1, "the filer has not done it");
	fuse_file_answer(&fuse, request, FUSE_HOLD);
	/* release; partner: main(), acquire */
	atomic_store_explicit((_Atomic int *)ready, 1, memory_order_release);
	if (request == FUSE_FILE_FLUSH) {
		vdm_region_release(region);
	} else {
		prepare(ring, request, in_file, memory);
		CHECK(vdm_ring_submit(ring) == 1, "submitting");
		vdm_ring_wait_cqe(ring, &cqe);
	}
	CHECK(0, "the file system has answered");
}

static void copy_memory(struct vdm_client *client, char *memory)
{
	struct vdm_ring *ring = ring_opened(client, 16, 0);

	for (unsigned i = 0; i < 100; i++) {
		memset(memory, (int)i, BYTES);
		vdm_prep_memcpy(entry(ring), memory + BYTES, memory, BYTES, 0);
		CHECK(run_one(ring) == 0 && memcmp(memory, memory + BYTES, BYTES) == 0, "a copy");
	}
	vdm_ring_close(ring);
	CHECK(counters_of(client).offloaded == 100, "the daemon has not done it");
}

/* A client that comes while the file system hangs. */
static void use_memory(unsigned uid, void *unused)
{
	struct vdm_region *region;

	(void)unused;
	CHECK(uid == 0 || setresuid(uid, uid, uid) == 0, "%s", strerror(errno));

	struct vdm_client *client = client_opened();

	copy_memory(client, region_opened(client, 2 * BYTES, &region));
	vdm_region_release(region);
	vdm_client_close(client);
}

/* One that has another file. The filer may have no time for it. */
static void use_file(unsigned unused, void *also_unused)
{
	char path[] = "files-hung-XXXXXX", memory[BYTES], found[BYTES];
	int fd = mkstemp(path);
	struct vdm_client *client = client_opened();
	struct vdm_ring *ring = ring_opened(client, 16, 0);
	struct vdm_region *region;

	(void)unused;
	(void)also_unused;
	CHECK(fd >= 0 && unlink(path) == 0 && ftruncate(fd, BYTES) == 0, "%s", strerror(errno));
	CHECK(vdm_region_open_file(client, fd, 0, BYTES, 0, &region) == 0, "a region");
	memset(memory, 'm', BYTES);
	vdm_prep_memcpy(entry(ring), vdm_region_address(region), memory, BYTES, VDM_SQE_DURABLE);
	CHECK(run_one(ring) == 0, "a durable write");
	CHECK(pread(fd, found, BYTES, 0) == (ssize_t)BYTES && memcmp(memory, found, BYTES) == 0,
	      "wrong bytes");
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
}

static void serves_others(struct daemon_process *daemon)
{
	client_joined(client_process(use_memory, 0, NULL));
	if (chmod(daemon->directory, 0711) == 0 && chmod(daemon->socket, 0666) == 0 &&
	    setresuid((uid_t)-1, OTHER, (uid_t)-1) == 0) {
		CHECK(setresuid((uid_t)-1, 0, (uid_t)-1) == 0, "%s", strerror(errno));
		client_joined(client_process(use_memory, OTHER, NULL));
	}
}

static void while_it_hangs(enum fuse_request request)
{
	struct daemon_process daemon;
	_Atomic int *ready = shared_between_processes(sizeof *ready);
	struct vdm_region *region;

	daemon_prepare(&daemon);
	daemon_start(&daemon, 1);

	struct vdm_client *client = client_opened();
	char *memory = region_opened(client, 2 * BYTES, &region);
	pid_t hung = client_process(hang, request, ready);

	/* acquire; partner: hang(), release */
	fuse_file_await_held(&fuse);
	CHECK(atomic_load_explicit(ready, memory_order_acquire), "it waits for something else");
	copy_memory(client, memory);
	serves_others(&daemon);
	kill(hung, SIGKILL);
	/* a process that waits for the answer to its own close has not ended */
	if (request != FUSE_FILE_FLUSH)
		await_sessions(1 + 1); /* this one, and the one that asks */
	serves_others(&daemon);
	client_joined(client_process(use_file, 0, NULL));
	CHECK(daemon_stop(&daemon) == 0, "the daemon's exit status");
	fuse_file_answer(&fuse, request, FUSE_ANSWER);
	CHECK(waitpid(hung, NULL, 0) == hung, "%s", strerror(errno));
	vdm_region_release(region);
	vdm_client_close(client);
	daemon_remove(&daemon);
	printf("a %s that hangs: served\n", names[request]);
}

int main(void)
{
	int result = fuse_file_start(&fuse);

	guard_against_hanging(60);
	if (result) {
		printf("skipped: cannot mount a file system by FUSE: %s\n", strerror(-result));
		return 77;
	}
	for (enum fuse_request i = 0; i < FUSE_FILE_REQUESTS; i++)
		while_it_hangs(i);
	fuse_file_stop(&fuse);
	return 0;
}
