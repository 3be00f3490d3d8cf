/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mover in threads of this process has an engine and a ring. For programs written for miniasync
 * it also has a ring of the daemon.
 */
#include <errno.h>
#include <stdlib.h>

#include "cancellation.h"
#include "engine/engine.h"
#include "error.h"
#include "fork.h"
#include "libvdm-miniasync/libminiasync/data_mover_threads.h"
#include "mover_life.h"
#include "proto/ring.h"
#include "ring_inprocess.h"

#undef data_mover_threads_new /* for programs that want the others in their place */
#undef data_mover_threads_default

#define DEFAULT_RING_SIZE 128
#define MAX_THREADS       256

struct data_mover_threads {
	struct mover mover; /* first */
	struct engine *engine;
	struct engine_account *account;
	struct engine_memory *memory;
	struct kernels kernels; /* the program's own; guarded by mover.lock */
};

static uint32_t ring_size(size_t wanted)
{
	uint32_t entries = VDM_RING_MIN_ENTRIES;

	while (entries < wanted && entries < VDM_RING_MAX_ENTRIES)
		entries *= 2;
	return entries;
}

static void free_engine(struct data_mover_threads *mover)
{
	if (mover->account)
		engine_account_delete(mover->account);
	if (mover->memory)
		engine_memory_delete(mover->memory);
	engine_delete(mover->engine);
}

static int start_engine(struct data_mover_threads *mover, unsigned threads, uint32_t entries,
			struct vdm_ring **ring)
{
	const struct engine_options options = {.workers = threads,
					       .spin_us = ENGINE_DEFAULT_SPIN_US};
	int result = engine_new(&options, &mover->engine);

	if (!result)
		result = engine_account_new(mover->engine, &mover->account);
	if (!result)
		result = engine_memory_new(mover->engine, 0, &mover->memory);
	if (result)
		return fail(result, "cannot start %u threads", threads);
	return ring_open_inprocess(mover->engine, mover->account, mover->memory, entries,
				   ENGINE_DEFAULT_SPIN_US, ring);
}

/* `threads` 0: the engine's default. */
static struct data_mover_threads *new_mover(unsigned threads, uint32_t entries,
					    enum future_notifier_type notifier, bool with_daemon)
{
	WITHOUT_CANCELLATION;
	struct data_mover_threads *mover = calloc(1, sizeof *mover);
	struct vdm_ring *ring[MOVER_RINGS] = {NULL};
	unsigned rings = 1;

	if (!mover) {
		fail(-ENOMEM, "out of memory");
		return NULL;
	}

	int result = start_engine(mover, threads, entries, &ring[0]);

	if (!result && with_daemon) {
		struct vdm_options options = {.size = sizeof options, .entries = entries};
		struct vdm_client *client = vdm_client_default();

		/* without a daemon the threads do everything */
		if (client && vdm_ring_open(client, &options, &ring[1]) == 0)
			rings = 2;
	}
	if (!result)
		result = mover_init(&mover->mover, ring, rings, notifier);
	if (result) {
		free_engine(mover);
		free(mover);
		return NULL;
	}
	return mover;
}

static struct data_mover_threads *checked_mover(size_t threads, size_t ringbuf_size,
						enum future_notifier_type notifier,
						bool with_daemon)
{
	if (threads == 0 || threads > MAX_THREADS) {
		fail(-EINVAL, "a mover cannot have %zu threads: it has to have from 1 to %d",
		     threads, MAX_THREADS);
		return NULL;
	}
	if (ringbuf_size == 0) {
		fail(-EINVAL, "a mover cannot have room for no operation: ringbuf_size is 0");
		return NULL;
	}
	if (notifier > FUTURE_NOTIFIER_POLLER) {
		fail(-EINVAL, "there is no notifier %d", (int)notifier);
		return NULL;
	}
	return new_mover((unsigned)threads, ring_size(ringbuf_size), notifier, with_daemon);
}

struct data_mover_threads *data_mover_threads_new(size_t nthreads, size_t ringbuf_size,
						  enum future_notifier_type notifier)
{
	return checked_mover(nthreads, ringbuf_size, notifier, false);
}

struct data_mover_threads *data_mover_threads_default(void)
{
	return new_mover(0, DEFAULT_RING_SIZE, FUTURE_NOTIFIER_WAKER, false);
}

struct data_mover_threads *vdm_miniasync_threads_new(size_t nthreads, size_t ringbuf_size,
						     enum future_notifier_type notifier)
{
	return checked_mover(nthreads, ringbuf_size, notifier, true);
}

struct data_mover_threads *vdm_miniasync_threads_default(void)
{
	return new_mover(0, DEFAULT_RING_SIZE, FUTURE_NOTIFIER_WAKER, true);
}

struct vdm *data_mover_threads_get_vdm(struct data_mover_threads *mover)
{
	return &mover->mover.vdm;
}

/* Functions of the program can run in this process only. */
static void use_kernels(struct data_mover_threads *mover)
{
	const struct kernels *k = &mover->kernels;

	mover->mover.second_usable = mover->mover.rings > 1 && !k->copy && !k->move && !k->set;
	engine_set_kernels(mover->engine, k);
}

void data_mover_threads_set_memcpy_fn(struct data_mover_threads *mover, memcpy_fn function)
{
	pthread_mutex_lock(&mover->mover.lock);
	mover->kernels.copy = function;
	use_kernels(mover);
	pthread_mutex_unlock(&mover->mover.lock);
}

void data_mover_threads_set_memmove_fn(struct data_mover_threads *mover, memmove_fn function)
{
	pthread_mutex_lock(&mover->mover.lock);
	mover->kernels.move = function;
	use_kernels(mover);
	pthread_mutex_unlock(&mover->mover.lock);
}

void data_mover_threads_set_memset_fn(struct data_mover_threads *mover, memset_fn function)
{
	pthread_mutex_lock(&mover->mover.lock);
	mover->kernels.set = function;
	use_kernels(mover);
	pthread_mutex_unlock(&mover->mover.lock);
}

static void release(struct mover *base)
{
	struct data_mover_threads *mover = (struct data_mover_threads *)base;

	/* A forked child has no threads to stop, and one of them may have held a lock: the engine's
	 * memory stays as it is. */
	bool ours = !fork_happened(base->epoch);

	mover_fini(base);
	if (ours)
		free_engine(mover);
	free(mover);
}

void data_mover_threads_delete(struct data_mover_threads *mover)
{
	if (mover)
		mover_delete(&mover->mover, release);
}
