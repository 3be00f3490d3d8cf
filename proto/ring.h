/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ring: what a client and the daemon share in memory.
 *
 * A ring is two memory files, of which each side writes one:
 *
 *   submission file (the client writes)        completion file (the daemon writes)
 *   +------------------------------------+     +------------------------------------+
 *   | 0     struct vdm_client_line       |     | 0     struct vdm_daemon_line       |
 *   | 64    reserved, zero               |     | 64    reserved, zero               |
 *   | 4096  descriptor[entries], 64 B    |     | 4096  completion[entries], 32 B    |
 *   +------------------------------------+     +------------------------------------+
 *
 * Each direction has one producer and one consumer. There is no shared head or tail: an entry is
 * ready when its sequence word says so (as with the phase tag of NVM Express Base Specification
 * 2.0, 4.2.4), so moving one entry moves one cache line.
 *
 * The daemon makes both files, of fixed sizes and without a page, and no other mapping than its own
 * can ever write the completion file. The client populates both, so that it is charged for their
 * pages, prepares the submission file, and seals it with F_SEAL_FUTURE_WRITE, so that no page can
 * be punched out. Then it starts the ring (VDM_MESSAGE_RING_START) and may submit at once. The
 * daemon checks all that, prepares the completion file, announces that it wants a doorbell, and
 * looks at the ring.
 *
 * Until then the completion file is zero. That looks like a ring whose daemon is awake and has not
 * come to it yet: no doorbell is wanted, and the first completion is not there, for its sequence
 * word is not zero (vdm_ring_first_sequence_valid()). When it is there, all of the file is
 * prepared; the client looks at no other one before. `claimed` is zero, too. Compared with
 * positions up to 2^31 that means "not claimed": the client may take operations back, since none
 * has begun. Compared with later ones it means "claimed": the client waits.
 *
 * The entry at position p (a free-running 32-bit count that begins at the ring's first_sequence)
 * lies in slot p & (entries - 1), and is ready when its sequence word equals p + 1. Before it is
 * written, the word holds p + 1 - entries, the value of the previous lap; the side that writes the
 * file fills in that value for the first lap. Any third value is a protocol violation. All
 * arithmetic is modulo 2^32.
 *
 * A client never has more operations in flight (submitted and not yet seen complete) than entries.
 * Since the daemon consumes in order, this alone makes both queues safe to reuse: entry p + entries
 * may be submitted once p + 1 completions have been seen, and then entry p has been consumed.
 */
#ifndef VDM_PROTO_RING_H
#define VDM_PROTO_RING_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* One line of every cache this protocol is used with; entries never straddle two. */
#define VDM_CACHE_LINE 64

/*
 * The daemon claims an operation of more bytes than this before it begins: it stores `claimed`,
 * passes a full barrier and reads `taken_back`. A client takes back an operation that it has
 * submitted: it stores `taken_back`, passes a full barrier and reads `claimed`. If the operation is
 * claimed then, the client came too late. If not, the daemon will find it taken back: it moves
 * nothing and completes the operation with -ECANCELED and VDM_COMPLETION_TAKEN_BACK. When both
 * store at the same time, each may see the other's word. Then the client came too late and yet gets
 * that completion; it has to carry the operation out.
 */
#define VDM_CLAIM_BYTES ((size_t)16 << 10)

/* Byte offset of the first descriptor or completion in its file: one page for the lines before. */
#define VDM_RING_ENTRIES_OFFSET 4096

#define VDM_RING_MIN_ENTRIES 2
#define VDM_RING_MAX_ENTRIES 4096

enum vdm_opcode {
	VDM_OPCODE_NOP = 0,
	VDM_OPCODE_MEMCPY = 1, /* overlapping ranges are copied as by memmove */
	VDM_OPCODE_MEMMOVE = 2,
	VDM_OPCODE_MEMSET = 3, /* pattern is the byte value, 0 to 255 */
	VDM_OPCODE_FLUSH = 4,  /* begins after all earlier operations; with no range, that is all */
	VDM_OPCODE_COUNT
};

/* Which of a user's rings go first. */
enum vdm_ring_priority {
	VDM_RING_PRIORITY_LOW = -1,
	VDM_RING_PRIORITY_NORMAL = 0,
	VDM_RING_PRIORITY_HIGH = 1,
};

static inline int vdm_ring_priority_valid(int32_t priority)
{
	return priority >= VDM_RING_PRIORITY_LOW && priority <= VDM_RING_PRIORITY_HIGH;
}

enum vdm_descriptor_flags {
	/* Begin after all earlier operations of the ring have completed; later ones begin after
	 * this one has begun. */
	VDM_DESCRIPTOR_FENCE = 1 << 0,
	/* The next descriptor begins after this one has completed, and is cancelled (-ECANCELED) if
	 * this one failed or was cancelled. */
	VDM_DESCRIPTOR_LINK = 1 << 1,
	/* The destination will not be read soon: write around the cache. */
	VDM_DESCRIPTOR_NO_CACHE = 1 << 2,
	/* Complete when the destination is durable. A filer's rings alone have that. */
	VDM_DESCRIPTOR_DURABLE = 1 << 3,
};
#define VDM_DESCRIPTOR_VALID_FLAGS                                                                 \
	(VDM_DESCRIPTOR_FENCE | VDM_DESCRIPTOR_LINK | VDM_DESCRIPTOR_NO_CACHE |                    \
	 VDM_DESCRIPTOR_DURABLE)

/* One operation. Memory is named by region and offset, never by address. */
struct vdm_descriptor {
	uint8_t opcode;   /* enum vdm_opcode */
	uint8_t priority; /* reserved, zero */
	uint16_t flags;   /* enum vdm_descriptor_flags */
	uint32_t destination_region;
	uint32_t source_region;      /* zero where the operation has no source */
	uint32_t reserved0;          /* zero */
	uint64_t destination_offset; /* bytes */
	uint64_t source_offset;      /* bytes; zero where the operation has no source */
	uint64_t length;             /* bytes */
	uint64_t pattern;            /* memset only, else zero */
	uint64_t user_data;          /* returned in the completion, never interpreted */
	uint32_t reserved1;          /* zero */
	_Atomic uint32_t sequence; /* written last, release; partner: descriptor_state(), acquire */
};

static_assert(sizeof(struct vdm_descriptor) == VDM_CACHE_LINE, "one line per submission");
static_assert(offsetof(struct vdm_descriptor, opcode) == 0, "wire format");
static_assert(offsetof(struct vdm_descriptor, priority) == 1, "wire format");
static_assert(offsetof(struct vdm_descriptor, flags) == 2, "wire format");
static_assert(offsetof(struct vdm_descriptor, destination_region) == 4, "wire format");
static_assert(offsetof(struct vdm_descriptor, source_region) == 8, "wire format");
static_assert(offsetof(struct vdm_descriptor, reserved0) == 12, "wire format");
static_assert(offsetof(struct vdm_descriptor, destination_offset) == 16, "wire format");
static_assert(offsetof(struct vdm_descriptor, source_offset) == 24, "wire format");
static_assert(offsetof(struct vdm_descriptor, length) == 32, "wire format");
static_assert(offsetof(struct vdm_descriptor, pattern) == 40, "wire format");
static_assert(offsetof(struct vdm_descriptor, user_data) == 48, "wire format");
static_assert(offsetof(struct vdm_descriptor, reserved1) == 56, "wire format");
static_assert(offsetof(struct vdm_descriptor, sequence) == 60, "wire format");

enum vdm_completion_flags {
	/* the daemon found it taken back, and has moved nothing */
	VDM_COMPLETION_TAKEN_BACK = 1 << 0,
};

/* The answer to one operation. */
struct vdm_completion {
	uint64_t user_data; /* of the descriptor */
	uint64_t value;     /* bytes moved, or set */
	int32_t result;     /* 0 or a negative errno */
	uint32_t flags;     /* enum vdm_completion_flags */
	uint32_t operation; /* position of the descriptor that this completes */
	/* written last, release; partner: the client's ring_reap(), acquire */
	_Atomic uint32_t sequence;
};

static_assert(sizeof(struct vdm_completion) * 2 == VDM_CACHE_LINE, "never straddles a line");
static_assert(offsetof(struct vdm_completion, user_data) == 0, "wire format");
static_assert(offsetof(struct vdm_completion, value) == 8, "wire format");
static_assert(offsetof(struct vdm_completion, result) == 16, "wire format");
static_assert(offsetof(struct vdm_completion, flags) == 20, "wire format");
static_assert(offsetof(struct vdm_completion, operation) == 24, "wire format");
static_assert(offsetof(struct vdm_completion, sequence) == 28, "wire format");

/*
 * Asking for a signal. The client stores a new value in `arm` (any value other than the last) and
 * in `wanted` the position that the completion count has to reach; the daemon sends one signal per
 * value of `arm`, once its completion count has reached `wanted`.
 */
struct vdm_client_line {
	/* release, then full barrier; partner: consumer_owes_signal() */
	_Atomic uint32_t arm;
	_Atomic uint32_t wanted; /* relaxed, before arm */
	/* Positions of operations that the client has taken back: from the lower half up to, not
	 * including, the upper half. release, then full barrier; partner: consumer_claim() */
	_Atomic uint64_t taken_back;
	uint32_t reserved[12];
};
static_assert(sizeof(struct vdm_client_line) == VDM_CACHE_LINE, "one line, one writer");
static_assert(offsetof(struct vdm_client_line, arm) == 0, "wire format");
static_assert(offsetof(struct vdm_client_line, wanted) == 4, "wire format");
static_assert(offsetof(struct vdm_client_line, taken_back) == 8, "wire format");

/*
 * `doorbell_wanted` is not zero while no worker polls the ring: a client that submits then has to
 * ring the doorbell, once per value. It has a new value each time that the workers leave the ring,
 * so a client that has rung, and was not answered yet, need not ring again.
 */
struct vdm_daemon_line {
	/* release, then full barrier; partner: the client's ring_doorbell() */
	_Atomic uint32_t doorbell_wanted;
	/* Position after the last operation that was claimed; at first, that of the first
	 * operation; zero until the file is prepared. release, then full barrier; partner: the
	 * client's ring_take_back() */
	_Atomic uint32_t claimed;
	uint32_t reserved[14];
};
static_assert(sizeof(struct vdm_daemon_line) == VDM_CACHE_LINE, "one line, one writer");
static_assert(offsetof(struct vdm_daemon_line, doorbell_wanted) == 0, "wire format");
static_assert(offsetof(struct vdm_daemon_line, claimed) == 4, "wire format");

/* Whether `entries` is a size that a ring can have: a power of two within the limits. */
static inline int vdm_ring_entries_valid(uint32_t entries)
{
	return entries >= VDM_RING_MIN_ENTRIES && entries <= VDM_RING_MAX_ENTRIES &&
	       (entries & (entries - 1)) == 0;
}

/*
 * Whether a ring can begin at this position: the sequence word of its first completion is not zero,
 * which is what the client finds in the completion file until the daemon has prepared it.
 */
static inline int vdm_ring_first_sequence_valid(uint32_t first_sequence)
{
	return first_sequence + 1 != 0;
}

/* Sizes of the two files in bytes. */
static inline size_t vdm_submission_size(uint32_t entries)
{
	return VDM_RING_ENTRIES_OFFSET + (size_t)entries * sizeof(struct vdm_descriptor);
}

static inline size_t vdm_completion_size(uint32_t entries)
{
	return VDM_RING_ENTRIES_OFFSET + (size_t)entries * sizeof(struct vdm_completion);
}

static inline struct vdm_descriptor *vdm_descriptors(void *submission)
{
	return (struct vdm_descriptor *)((char *)submission + VDM_RING_ENTRIES_OFFSET);
}

static inline struct vdm_completion *vdm_completions(void *completion)
{
	return (struct vdm_completion *)((char *)completion + VDM_RING_ENTRIES_OFFSET);
}

/*
 * Prepare zeroed ring memory for its first lap, so that no slot looks ready, whatever the first
 * sequence number is. Each side prepares the memory that it writes: the client before it starts the
 * ring, the daemon before it serves the ring.
 */
static inline void vdm_submission_prepare(void *submission, uint32_t entries,
					  uint32_t first_sequence)
{
	for (uint32_t i = 0; i < entries; i++) {
		uint32_t position = first_sequence + i;

		/* relaxed: starting the ring orders these stores before any look at them */
		atomic_store_explicit(
			&vdm_descriptors(submission)[position & (entries - 1)].sequence,
			position + 1 - entries, memory_order_relaxed);
	}
}

static inline void vdm_completion_prepare(void *completion, uint32_t entries,
					  uint32_t first_sequence)
{
	/* relaxed: the client may see these words or the zeroes before, in any order, and they mean
	 * the same; partners: ring_reap(), ring_take_back() */
	atomic_store_explicit(&((struct vdm_daemon_line *)completion)->claimed, first_sequence,
			      memory_order_relaxed);
	for (uint32_t i = 0; i < entries; i++) {
		uint32_t position = first_sequence + i;

		atomic_store_explicit(
			&vdm_completions(completion)[position & (entries - 1)].sequence,
			position + 1 - entries, memory_order_relaxed);
	}
}

#endif
