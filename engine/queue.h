/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A queue is what the engine has of one ring: the consumer's side of it, the order of its
 * operations, those that have begun, and its part in the turns.
 *
 * A thread that takes operations, posts completions or signals without the crew's lock leases the
 * queue: until it gives the lease back, `consumer` and `order` are that thread's alone, and the
 * flights begin by its hand. While the queue is not leased, all that belongs to the holder of the
 * crew's lock. Pieces of flights need no lease.
 */
#ifndef VDM_ENGINE_QUEUE_H
#define VDM_ENGINE_QUEUE_H

#include "account.h"
#include "consumer.h"
#include "flight.h"
#include "guard.h"
#include "order.h"
#include "wait.h"

/* A batch ends after so many operations or bytes. */
#define BATCH_OPERATIONS 32
#define BATCH_BYTES      ((size_t)16 << 10)

/* What an operation costs at least, in bytes: about the time to move it rather than its bytes. */
#define OPERATION_COST 256

/* And a page that is not there: the fault, the signal and the way back take some 5 us. */
#define FAULT_COST ((size_t)64 << 10)

/* And each ns of a signal, at 8 GB/s. */
#define SIGNAL_NS_COST 8

/* The scheduler's, of a queue. Guarded by the crew's lock. */
struct turn {
	TAILQ_ENTRY(engine_queue) entry; /* in a list of queues_like(), while polled */
	enum engine_priority priority;
	int64_t credit; /* bytes that it may still move in its turn */
	bool polled;
	bool ready; /* in which list: as found at the last look */
	/* then it could not be seen whether it was ready: regions were leaving */
	bool retired_paused;
	bool touched;         /* served since the last look at the clock */
	bool served;          /* since it was first found with nothing to do */
	uint64_t quiet_since; /* ns, CLOCK_MONOTONIC */
	unsigned spin_shift;  /* while quiet it is polled for spin_us >> spin_shift */
};

struct engine_queue {
	struct consumer consumer;
	struct order order;
	struct flights flights;
	struct engine_account *account;
	struct engine_memory *memory;
	void (*violated)(void *context, const char *reason);
	void (*over_limit)(void *context);
	void (*bell_unread)(void *context);
	void (*signal)(void *context);
	void *context;

	/* Guarded by the crew's lock: */
	struct turn turn;
	bool leased;
	bool broken;  /* the producer broke the protocol: take nothing more. The lease holder's */
	bool removed; /* engine_queue_remove() has begun: take nothing more */
	struct wait wait; /* for workers to let go of it */
	int doorbell_fd;
	uint64_t doorbell; /* in account->bells */
	unsigned bells_answered;
	LIST_ENTRY(engine_queue) of_memory; /* in memory->queues */
};

/* What a worker runs of a queue at a time. It survives a siglongjmp(). */
struct batch {
	struct guard guard;
	struct operation operation;
	size_t cost;  /* bytes, before that operation */
	size_t whole; /* larger operations are cut into pieces */
	struct kernels kernels;
	struct backend *backend; /* asked before the CPU; NULL: none */
};

/* Returns 0 or a negative errno. `flights`: how many can be in progress. */
int queue_new(const struct engine_queue_options *options, unsigned flights,
	      struct engine_queue **queue);
void queue_free(struct engine_queue *queue);

/* Whether a worker could do something for it now. Holding the crew's lock. */
bool queue_ready(const struct engine_queue *queue);

/*
 * Where its producer would submit, if the queue is ready as soon as it does. Holding the crew's
 * lock.
 */
bool queue_waits_for_producer(const struct engine_queue *queue, struct next_slot *next);

/* Carry out a batch of small operations. A large one ends it, as an open flight. */
void queue_batch(struct engine_queue *queue, struct batch *batch);

/* Post the completion of an operation. */
void queue_complete(struct engine_queue *queue, const struct operation *operation, int32_t error);

/* Post the completions of finished flights, unless the queue is leased; signal then. Whether there
 * were any. */
bool queue_finish_flights(struct engine_queue *queue);

/*
 * By a worker: signal if the client has asked for it, or pass that on. Returns how many ns that
 * took; 0: the client has not asked. Leasing the queue, without the crew's lock, unless the client
 * is this process.
 */
uint64_t queue_signal(struct engine_queue *queue);

/* Likewise by another thread, which sends its signals itself. */
void queue_signal_here(struct engine_queue *queue);

#endif
