/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads of one client open and release regions of files and of memory, and close rings with
 * operations in flight, while other threads use theirs, and while the filer is killed and another
 * one is told of the regions. Every operation on what is open succeeds, with the right bytes.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "filer_process.h"
#include "process_figures.h"
#include "ring_use.h"
#include "scale.h"

#define BYTES   ((size_t)64 << 10)
#define THREADS 4u
#define KILLS   20

/* Relaxed: pacing, on which no memory depends. */
static _Atomic bool over;
static _Atomic unsigned rounds[THREADS];

static struct vdm_client *client;

struct worker {
	unsigned index;
	int fd;
	struct vdm_region *file, *memory;
	char *in_file, *bytes;
	struct vdm_ring *ring;
	unsigned round;
};

static void open_all(struct worker *worker, unsigned flags)
{
	CHECK(vdm_region_open_file(client, worker->fd, 0, BYTES, flags, &worker->file) == 0,
	      "a region of a file");
	worker->in_file = vdm_region_address(worker->file);
	worker->bytes = region_opened(client, 2 * BYTES, &worker->memory);
	worker->ring = ring_opened(client, 8, 0);
}

static void use(struct worker *worker)
{
	const unsigned flags = ++worker->round % 4 ? VDM_SQE_LINK : VDM_SQE_LINK | VDM_SQE_DURABLE;
	char *source = worker->bytes, *found = worker->bytes + BYTES;
	int32_t results[2];

	memset(source, (int)worker->round, BYTES);
	vdm_prep_memcpy(entry(worker->ring), worker->in_file, source, BYTES, flags);

	struct vdm_sqe *sqe = entry(worker->ring);

	vdm_prep_memcpy(sqe, found, worker->in_file, BYTES, 0);
	sqe->user_data = 1;
	run_all(worker->ring, 2, results, NULL);
	CHECK(results[0] == 0 && results[1] == 0, "results %d, %d", results[0], results[1]);
	CHECK(memcmp(source, found, BYTES) == 0, "wrong bytes");
	atomic_fetch_add_explicit(&rounds[worker->index], 1, memory_order_relaxed);
}

/* In one order or another, with an operation in flight. */
static void release_all(struct worker *worker)
{
	vdm_prep_memcpy(entry(worker->ring), worker->in_file, worker->bytes, BYTES, 0);
	CHECK(vdm_ring_submit(worker->ring) == 1, "submitting");
	if (worker->round % 3)
		vdm_ring_close(worker->ring);
	vdm_region_release(worker->memory);
	vdm_region_release(worker->file);
	if (worker->round % 3 == 0)
		vdm_ring_close(worker->ring);
}

static bool goes_on(void)
{
	return !atomic_load_explicit(&over, memory_order_relaxed);
}

/* Half of the threads keep what they have opened. */
static void *work(void *argument)
{
	struct worker *worker = argument;
	const bool keeps = worker->index % 2;

	while (goes_on()) {
		open_all(worker, worker->index < 2 ? 0 : VDM_REGION_MAP);
		do
			use(worker);
		while (keeps && goes_on());
		release_all(worker);
	}
	return NULL;
}

static int file_made(void)
{
	char path[] = "files-threads-XXXXXX";
	int fd = mkstemp(path);

	CHECK(fd >= 0 && unlink(path) == 0 && ftruncate(fd, BYTES) == 0, "%s", strerror(errno));
	return fd;
}

static void await_rounds(void)
{
	for (unsigned i = 0; i < THREADS; i++) {
		const unsigned before = atomic_load_explicit(&rounds[i], memory_order_relaxed);

		while (atomic_load_explicit(&rounds[i], memory_order_relaxed) - before < 3)
			usleep(1000);
	}
}

int main(int argc, char **argv)
{
	static struct worker workers[THREADS];
	pthread_t threads[THREADS];
	pid_t filer = 0;

	scale_from_arguments(argc, argv);
	guard_against_hanging((unsigned)(60 + scaled(60)));
	client = client_opened();
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.index = i, .fd = file_made()};
		CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0, "a thread");
	}
	for (unsigned i = 0; i < scaled(KILLS); i++) {
		filer = filer_awaited(daemon_pid(), filer);
		await_rounds();
		kill(filer, SIGKILL);
	}
	await_rounds();
	atomic_store_explicit(&over, true, memory_order_relaxed);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK(counters_of(client).file_offloaded > 0, "the filer has done nothing");
	vdm_client_close(client);
	return 0;
}
