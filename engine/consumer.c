/* SPDX-License-Identifier: BSD-3-Clause */
#include "consumer.h"

#include <errno.h>
#include <sys/socket.h>

/* A signal that there is no memory for is tried so often before its client is hung up on. */
#define SIGNAL_TRIES 100

void consumer_init(struct consumer *consumer, const struct engine_queue_options *options)
{
	consumer->descriptors = vdm_descriptors(options->submission);
	consumer->client_line = options->submission;
	consumer->completions = vdm_completions(options->completion);
	consumer->daemon_line = options->completion;
	consumer->entries = options->entries;
	consumer->head = options->first_sequence;
	consumer->tail = options->first_sequence;
	consumer->signal_fd = options->signal_fd;
}

struct next_slot consumer_next(const struct consumer *consumer)
{
	return (struct next_slot){
		.slot = &consumer->descriptors[consumer->head & (consumer->entries - 1)],
		.position = consumer->head,
		.entries = consumer->entries,
	};
}

bool next_slot_is_empty(const struct next_slot *next)
{
	return descriptor_state(next->slot, next->position, next->entries) == DESCRIPTOR_EMPTY;
}

bool consumer_take(struct consumer *consumer, const struct engine_memory *memory,
		   struct operation *operation, const char **violation)
{
	const struct next_slot next = consumer_next(consumer);
	struct vdm_descriptor copy;

	switch (descriptor_state(next.slot, next.position, next.entries)) {
	case DESCRIPTOR_EMPTY:
		return false;
	case DESCRIPTOR_IMPOSSIBLE:
		*violation = "a submission's sequence number jumped";
		return false;
	case DESCRIPTOR_READY:
		break;
	}
	if (consumer_in_flight(consumer) == consumer->entries) {
		*violation = "more operations in flight than the ring has entries";
		return false;
	}
	descriptor_fetch(next.slot, &copy);
	operation->error = descriptor_resolve(&copy, next.position, memory, operation);
	consumer->head++;
	return true;
}

bool consumer_claim(struct consumer *consumer, uint32_t position)
{
	/* release, then full barrier; partner: the client's ring_take_back(), which stores what it
	 * takes, passes a full barrier and reads this */
	atomic_store_explicit(&consumer->daemon_line->claimed, position + 1, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);

	uint64_t taken =
		atomic_load_explicit(&consumer->client_line->taken_back, memory_order_acquire);
	uint32_t from = (uint32_t)taken, to = (uint32_t)(taken >> 32);

	return position - from >= to - from;
}

/* A counter with one writer at a time needs no locked instruction. */
static void count(_Atomic uint64_t *counter, uint64_t n)
{
	/* relaxed; partner: consumer_counters(), which needs no order */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static inline void complete(struct consumer *consumer, const struct operation *operation,
			    int32_t error, uint64_t value)
{
	struct vdm_completion *slot =
		&consumer->completions[consumer->tail & (consumer->entries - 1)];
	uint32_t position = consumer->tail++;

	if (error) {
		count(&consumer->failed, !operation->taken_back);
	} else {
		count(&consumer->operations[operation->opcode], 1);
		count(&consumer->bytes, value);
	}
	slot->user_data = operation->user_data;
	slot->value = value;
	slot->result = error;
	slot->flags = operation->taken_back ? VDM_COMPLETION_TAKEN_BACK : 0;
	slot->operation = operation->position;
	/* release; partner: the client's collecting of completions, acquire: it sees the bytes that
	 * were moved and this entry */
	atomic_store_explicit(&slot->sequence, position + 1, memory_order_release);
}

void consumer_complete(struct consumer *consumer, const struct operation *operation, int32_t error)
{
	complete(consumer, operation, error, error ? 0 : operation_value(operation));
}

void consumer_fail(struct consumer *consumer, const struct operation *operation, int32_t error,
		   uint64_t value)
{
	complete(consumer, operation, error, value);
}

void consumer_leave(struct consumer *consumer)
{
	consumer->head--;
}

void consumer_note_in_flight(struct consumer *consumer)
{
	/* relaxed; partner: consumer_counters() */
	atomic_store_explicit(&consumer->in_flight, consumer_in_flight(consumer),
			      memory_order_relaxed);
}

bool consumer_owes_signal(struct consumer *consumer, uint32_t *arm)
{
	/* full barrier between publishing completions and reading the announcement (I6); partner:
	 * the client, which arms, passes a full barrier, looks again and only then sleeps */
	atomic_thread_fence(memory_order_seq_cst);
	*arm = atomic_load_explicit(&consumer->client_line->arm, memory_order_acquire);
	if (*arm != consumer->signalled) {
		uint32_t wanted =
			atomic_load_explicit(&consumer->client_line->wanted, memory_order_relaxed);

		if ((int32_t)(consumer->tail - wanted) >= 0)
			return true;
	}
	consumer->unsignalled = 0;
	return false;
}

bool consumer_send(const struct consumer *consumer)
{
	static const uint64_t one = 1;

	/* a client that does not read (EAGAIN) has signals enough */
	if (send(consumer->signal_fd, &one, sizeof one, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
	    errno == EAGAIN)
		return true;
	if (errno == ENOBUFS || errno == ENOMEM)
		return false;
	shutdown(consumer->signal_fd, SHUT_RDWR); /* the client has closed its end */
	return true;
}

void consumer_passes_on(struct consumer *consumer, uint32_t arm)
{
	consumer->signalled = arm;
	consumer->unsignalled = 0;
}

void consumer_signal(struct consumer *consumer, uint32_t arm, bool *broken)
{
	/* The kernel has no memory for it: the queue tries again in its next turn. Hanging up while
	 * one of its operations is in progress would tell the client that none is. So after too
	 * many tries it begins nothing more, and hangs up when nothing is in flight. */
	if (!consumer_send(consumer)) {
		if (++consumer->unsignalled <= SIGNAL_TRIES || consumer_in_flight(consumer) > 0)
			return;
		*broken = true;
		shutdown(consumer->signal_fd, SHUT_RDWR);
	}
	consumer->signalled = arm;
	consumer->unsignalled = 0;
}

void consumer_want_doorbell(struct consumer *consumer, bool wanted)
{
	if (!wanted) {
		/* relaxed: a doorbell more is harmless, and the next look at the ring comes after
		 * this anyway; partner: the client's ring_doorbell() */
		atomic_store_explicit(&consumer->daemon_line->doorbell_wanted, 0,
				      memory_order_relaxed);
		return;
	}
	if (++consumer->retirements == 0)
		consumer->retirements = 1; /* never zero */
	/* release, then the barrier in scheduler_retire_quiet() or engine_queue_add(); partner: the
	 * client's ring_doorbell(), which after publishing passes a barrier, or is passed through
	 * ours, and reads this */
	atomic_store_explicit(&consumer->daemon_line->doorbell_wanted, consumer->retirements,
			      memory_order_release);
}

void consumer_counters(const struct consumer *consumer, struct engine_counters *counters)
{
	*counters = (struct engine_counters){0};
	/* relaxed; partners: consumer_complete(), consumer_note_in_flight() */
	for (unsigned i = 0; i < VDM_OPCODE_COUNT; i++)
		counters->operations[i] =
			atomic_load_explicit(&consumer->operations[i], memory_order_relaxed);
	counters->failed = atomic_load_explicit(&consumer->failed, memory_order_relaxed);
	counters->bytes = atomic_load_explicit(&consumer->bytes, memory_order_relaxed);
	counters->in_flight = atomic_load_explicit(&consumer->in_flight, memory_order_relaxed);
}
