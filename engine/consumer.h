/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The consumer's side of a ring: the only code of the engine that touches the memory of one. The
 * producer may be lying. Of what it wrote, only the sequence words are believed, and only as far as
 * "this slot may be fetched"; a descriptor is used only after it was copied to private memory;
 * head, tail and sizes never come from the ring.
 *
 * A consumer belongs to the holder of its queue's lease, except where a function says otherwise.
 */
#ifndef VDM_ENGINE_CONSUMER_H
#define VDM_ENGINE_CONSUMER_H

#include "descriptor.h"
#include "engine.h"

struct consumer {
	const struct vdm_descriptor *descriptors; /* written by the producer */
	const struct vdm_client_line *client_line;
	struct vdm_completion *completions; /* written here */
	struct vdm_daemon_line *daemon_line;
	uint32_t entries;
	uint32_t head;        /* position of the next descriptor to take */
	uint32_t tail;        /* position of the next completion to post */
	uint32_t signalled;   /* last value of client_line->arm that was answered */
	uint32_t unsignalled; /* how often it was tried in vain to answer the one after it */
	uint32_t retirements; /* how often the ring was left to its doorbell; doorbell_wanted */
	int signal_fd;        /* constant */

	/* relaxed: one writer, and the sums order nothing; partner: consumer_counters() */
	_Atomic uint64_t operations[VDM_OPCODE_COUNT + TEST_OPCODES];
	_Atomic uint64_t failed;
	_Atomic uint64_t bytes;
	_Atomic uint32_t in_flight;
};

/* Where the next submission will be written: for a look at it without the lease. */
struct next_slot {
	const struct vdm_descriptor *slot;
	uint32_t position, entries;
};

void consumer_init(struct consumer *consumer, const struct engine_queue_options *options);

struct next_slot consumer_next(const struct consumer *consumer);

/* Whether a submission is there. A hint until it is taken. */
bool next_slot_is_empty(const struct next_slot *next);

/*
 * Take the next submission, if there is one, and resolve it. Returns whether it did; if the
 * producer broke the protocol, it did not, and `*violation` says how.
 */
bool consumer_take(struct consumer *consumer, const struct engine_memory *memory,
		   struct operation *operation, const char **violation);

/* Whether the operation at a position is this side's to carry out: from now on, or no longer. */
bool consumer_claim(struct consumer *consumer, uint32_t position);

/* Post the completion of an operation. `error` is 0 or a negative errno. */
void consumer_complete(struct consumer *consumer, const struct operation *operation, int32_t error);

/* The same for one that has failed after it had stored so many bytes. */
void consumer_fail(struct consumer *consumer, const struct operation *operation, int32_t error,
		   uint64_t value);

/* An operation that was taken stays its producer's. Nothing is taken any more. */
void consumer_leave(struct consumer *consumer);

/* Call after a batch of completions: the counters say how many operations are in flight. */
void consumer_note_in_flight(struct consumer *consumer);

/* Whether the client waits for a signal, and which value of `arm` it answers. */
bool consumer_owes_signal(struct consumer *consumer, uint32_t *arm);

/*
 * Send it: how long it takes to wake the client's threads is up to the client, so hold no lock.
 * `*broken` is set if the ring is to be served no more.
 */
void consumer_signal(struct consumer *consumer, uint32_t arm, bool *broken);

/* It is being passed on to another thread, which calls consumer_send(). */
void consumer_passes_on(struct consumer *consumer, uint32_t arm);

/* Any thread: send a signal. Returns false if the kernel has no memory for it, send(2). */
bool consumer_send(const struct consumer *consumer);

/* Announce whether the producer has to ring the doorbell. By the holder of the crew's lock. */
void consumer_want_doorbell(struct consumer *consumer, bool wanted);

/* Any thread. */
void consumer_counters(const struct consumer *consumer, struct engine_counters *counters);

/* Taken, and not completed. */
static inline uint32_t consumer_in_flight(const struct consumer *consumer)
{
	return consumer->head - consumer->tail;
}

#endif
