/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine: a pool of worker threads that serves rings. It knows queues, memory and
 * turns; it knows no sockets, no configuration and no systemd. The daemon runs one for all of
 * its clients; a client process may run one for itself.
 *
 * Functions return 0 or a negative errno, and leave output parameters unchanged on failure. Unless
 * said otherwise they may be called from any thread that is not a worker.
 */
#ifndef VDM_ENGINE_H
#define VDM_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "op/kernels.h"

struct engine;
struct engine_account; /* pays for bytes: a user id in the daemon */
struct engine_memory;  /* the regions that the descriptors of some queues can name */
struct engine_queue;   /* the consumer's side of one ring */
struct backend;        /* op/backend.h */

#define ENGINE_DEFAULT_SPIN_US 50

struct engine_options {
	unsigned workers;        /* threads; 0: half the CPUs, at least one */
	uint32_t spin_us;        /* how long a quiet ring is polled before its doorbell is wanted */
	bool pin;                /* bind each worker to a CPU of the process's set */
	bool supervised;         /* engine_supervise() is called, so there can be spare workers */
	bool guard_faults;       /* turn SIGBUS in an operation into -EFAULT; installs a handler */
	struct kernels kernels;  /* zeroed: chosen for this CPU */
	struct backend *backend; /* asked to carry out operations before the CPU is; NULL: none */
};

/* Start the workers. On failure, none runs. */
int engine_new(const struct engine_options *options, struct engine **engine);

/* Stop and join the workers. All queues, memories and accounts must be gone. NULL is allowed. */
void engine_delete(struct engine *engine);

/* Workers that run, workers that are awake now, and how often one has been woken so far. */
unsigned engine_workers(const struct engine *engine);
unsigned engine_awake(struct engine *engine);
uint64_t engine_wakeups(struct engine *engine);

/*
 * A worker that waits in the kernel for a client's memory is replaced, and the account of that
 * memory gets no other worker meanwhile. When the descriptor (-1 if the engine is not supervised)
 * is readable, call engine_supervise(), from one thread always. It is quiet while no worker is
 * awake.
 */
int engine_supervisor_fd(const struct engine *engine);
void engine_supervise(struct engine *engine);

/*
 * Whether each worker that was busy at the last call has made progress since, or waits for a
 * client's memory and has been replaced. For a watchdog: call it from the thread that calls
 * engine_supervise(), at intervals longer than any step of a worker.
 */
bool engine_healthy(struct engine *engine);

/*
 * Use other kernels for operations that begin from now on; NULL members stand for the default.
 * Kernels that are not the default are given whole operations, never pieces.
 */
void engine_set_kernels(struct engine *engine, const struct kernels *kernels);

/* Set how long quiet rings are polled. */
void engine_set_spin(struct engine *engine, uint32_t spin_us);

/*
 * Accounts share the workers fairly, in bytes by weight (1 to 1000, 100 is ordinary), and so do the
 * queues of one account, evenly. Accounts of a higher priority go first, and within an account
 * queues of a higher priority: the others are served while those have nothing to begin.
 */
enum engine_priority { ENGINE_PRIORITY_LOW = -1, ENGINE_PRIORITY_NORMAL, ENGINE_PRIORITY_HIGH };

int engine_account_new(struct engine *engine, struct engine_account **account);
void engine_account_set_turn(struct engine_account *account, unsigned weight,
			     enum engine_priority priority);
/*
 * Limit the bytes that its large operations (above 64 KiB) have in flight: one that would exceed
 * the limit completes with -EDQUOT. There is no limit by default.
 */
void engine_account_set_in_flight(struct engine_account *account, uint64_t bytes);
void engine_account_delete(struct engine_account *account);

/*
 * A table of up to `max_regions` regions. With max_regions 0 the memory is flat: region 0 is the
 * whole address space of this process, for rings whose producer is trusted.
 */
int engine_memory_new(struct engine *engine, uint32_t max_regions, struct engine_memory **memory);
void engine_memory_delete(struct engine_memory *memory);

/* Add memory; stores its id (never 0). The memory stays the caller's. -ENOSPC: the table is
 * full. */
int engine_region_add(struct engine_memory *memory, void *base, size_t length, bool writable,
		      uint32_t *region);

/*
 * Remove a region, and wait as long as it is in use: afterwards no operation uses it, and the
 * caller may unmap it. Operations that name it later fail with -EFAULT. -ENOENT: no such region.
 */
int engine_region_remove(struct engine_memory *memory, uint32_t region);

/* What a queue has done. */
struct engine_counters {
	uint64_t operations[16]; /* completed with 0, by opcode */
	uint64_t failed;
	uint64_t bytes;
	uint64_t in_flight;
};

#define ENGINE_UNREAD_BELLS 64

struct engine_queue_options {
	struct engine_account *account;
	struct engine_memory *memory;
	void *submission; /* prepared ring memory, proto/ring.h; only read by the engine */
	void *completion; /* prepared ring memory; only written by the engine */
	uint32_t entries;
	uint32_t first_sequence;
	enum engine_priority priority;
	int doorbell_fd; /* waited on edge-triggered, never read: an eventfd, or a socket with
			  * bell_unread() */
	int signal_fd;   /* socket: one 8-byte message is sent per armed signal */
	/* Called once by a worker when the producer breaks the protocol; the queue is then served
	 * no more. It may only pass that on. `reason` is a constant string. */
	void (*violated)(void *context, const char *reason);
	/* Called by a worker when it refuses an operation because the account has too many bytes in
	 * flight. May be NULL. */
	void (*over_limit)(void *context);
	/* Called by a worker each ENGINE_UNREAD_BELLS times that it leaves the ring to its
	 * doorbell, so that another thread reads that and then calls engine_queue_look(). It may
	 * only pass that on: the engine's lock is held. NULL for an eventfd, which can be rung
	 * unread for ever. */
	void (*bell_unread)(void *context);
	/* Called by a worker when the client is to be signalled and signals of this account have
	 * taken long lately, so that another thread calls engine_queue_signal(). It may only pass
	 * that on. NULL: the workers send all signals. */
	void (*signal)(void *context);
	void *context;
};

/* Serve a ring from now on. Memory, descriptors, account and regions stay the caller's. */
int engine_queue_add(struct engine *engine, const struct engine_queue_options *options,
		     struct engine_queue **queue);

/*
 * Serve it no more, and wait as long as it is in use: what is wholly in hand is completed first.
 * What has not begun, or only in part, is not, not even as cancelled: the producer, which learns of
 * the end from the signal descriptor, may have that done elsewhere. Afterwards memory and
 * descriptors are the caller's alone, and the final counters have been stored unless NULL.
 */
void engine_queue_remove(struct engine_queue *queue, struct engine_counters *counters);

/*
 * Send a signal that the workers have passed on. It takes as long as the client likes. Returns 0,
 * or -ENOBUFS if the kernel has no memory for it now: try again later, because the client waits for
 * it.
 */
int engine_queue_signal(struct engine_queue *queue);

/*
 * Look whether something has been submitted, for a doorbell that has been read. It may have been
 * full, and epoll(7) forgets a bell that is read before a worker has looked.
 */
void engine_queue_look(struct engine_queue *queue);

void engine_queue_counters(struct engine_queue *queue, struct engine_counters *counters);

#endif
