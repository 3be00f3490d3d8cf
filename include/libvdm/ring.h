/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The native ring API, in the shape of liburing: get a submission entry, prepare it, submit a
 * batch, peek or wait for completions, mark them seen.
 *
 * Thread-safety: a ring belongs to one thread at a time: functions on one ring must not run
 * concurrently. Different rings are independent, also those of one client. vdm_ring_wait_cqes() is
 * a cancellation point of pthread_cancel(3): the ring is then as after a wait that has timed out.
 *
 * Any pointers may be used. An operation goes to the daemon if its memory lies in regions of the
 * client and it is at least as long as the offload threshold. Any other operation runs in this
 * process during vdm_ring_submit() and completes in the same way. VDM_SQE_LINK chains take one lane
 * together. Operations on regions of files, and chains with such an operation, are carried out by
 * the daemon's filer or by threads of this process, whatever their length. Operations whose ranges
 * overlap run in this process, since they could not be repeated if the daemon died.
 *
 * Fences and links hold across the lanes: an operation after an ordered one that has not begun yet
 * goes to the daemon however small it is, or waits and enters its lane during a later peek or wait.
 *
 * Results: 0 or more for success, a negative errno for failure; errno itself is not set.
 */
#ifndef LIBVDM_RING_H
#define LIBVDM_RING_H

#include <stdint.h>
#include <stddef.h>
#include <string.h>

#include "client.h"

struct timespec; /* <time.h>; strict C99 has none */

#ifdef __cplusplus
extern "C" {
#endif

struct vdm_ring;

enum vdm_op {
	VDM_OP_NOP,
	VDM_OP_MEMCPY, /* memory that overlaps is copied as by memmove */
	VDM_OP_MEMMOVE,
	VDM_OP_MEMSET,
	/* completes after all earlier operations of the ring; if the range lies in a region of a
	 * file, what they have written to it is durable then */
	VDM_OP_FLUSH
};

/* Begin after all earlier operations of the ring have completed; later ones begin after it
 * began. */
#define VDM_SQE_FENCE (1u << 0)
/* The next entry of the same submit begins after this one has completed, and is cancelled
 * (-ECANCELED) if this one fails. */
#define VDM_SQE_LINK (1u << 1)
/* The destination will not be read soon: write around the cache. */
#define VDM_SQE_NO_CACHE (1u << 2)
/* Complete when durable: the destination lies in a region of vdm_region_open_file(). Others cannot
 * (-EOPNOTSUPP). */
#define VDM_SQE_DURABLE (1u << 3)

/* A submission entry: private memory, read by vdm_ring_submit(). */
struct vdm_sqe {
	uint8_t opcode;    /* enum vdm_op */
	uint8_t reserved0; /* zero */
	uint16_t flags;    /* VDM_SQE_* */
	uint32_t value;    /* memset: the byte */
	void *dest;
	const void *src;
	uint64_t length;    /* bytes */
	uint64_t user_data; /* comes back in the completion */
	uint64_t reserved[3];
};

/* A completion. Valid until it is marked seen. */
struct vdm_cqe {
	uint64_t user_data; /* of the submission entry */
	uint64_t value;     /* bytes moved or set; of a failure, what a file has taken or given */
	/* 0 or a negative errno: -EINVAL bad entry; -EFAULT memory released meanwhile, or a page is
	 * missing, or partly in a region of a file; -EACCES the destination may only be read;
	 * -EDQUOT too many bytes in flight; -ECANCELED linked to a failure; -EOPNOTSUPP; -ENODATA
	 * the file has become shorter; -ENOTCONN the daemon went away, with
	 * VDM_OPTION_NO_RECOVERY; and others that a file system returns */
	int32_t result;
	uint32_t flags;     /* zero */
	uint32_t operation; /* position of the submission: first_sequence, and one more each time */
	uint32_t reserved;
};

/*
 * Open a ring. `options` may be NULL. Of its fields, entries, spin_us, offload_threshold,
 * first_sequence and priority are used; zero in one of them means as for the client. Opening the
 * client has settled the others. Returns 0; -EINVAL (entries, priority), -ENOMEM, -EDQUOT (a limit
 * of the daemon), -EOWNERDEAD.
 */
int vdm_ring_open(struct vdm_client *client, const struct vdm_options *options,
		  struct vdm_ring **ring);

/*
 * Close the ring. The daemon completes or abandons operations in flight before this returns, and
 * their completions are lost. With operations in flight this waits for a stopped daemon until it
 * goes on or ends: only then is it certain that the daemon does not touch their memory any more.
 * Operations on files that have begun end before, too. NULL is allowed.
 */
void vdm_ring_close(struct vdm_ring *ring);

/* Number of entries, and how many vdm_ring_get_sqe() could return now. */
unsigned vdm_ring_entries(const struct vdm_ring *ring);
unsigned vdm_ring_space_left(const struct vdm_ring *ring);

/*
 * The next submission entry, zeroed, or NULL when the ring has no room: an entry is taken from here
 * until its completion has been marked as seen. The next vdm_ring_submit() submits all entries got,
 * in order.
 */
struct vdm_sqe *vdm_ring_get_sqe(struct vdm_ring *ring);

static inline void vdm_prep_nop(struct vdm_sqe *sqe)
{
	sqe->opcode = VDM_OP_NOP;
}

static inline void vdm_prep_memcpy(struct vdm_sqe *sqe, void *dest, const void *src, size_t n,
				   unsigned flags)
{
	sqe->opcode = VDM_OP_MEMCPY;
	sqe->flags = (uint16_t)flags;
	sqe->dest = dest;
	sqe->src = src;
	sqe->length = n;
}

static inline void vdm_prep_memmove(struct vdm_sqe *sqe, void *dest, const void *src, size_t n,
				    unsigned flags)
{
	vdm_prep_memcpy(sqe, dest, src, n, flags);
	sqe->opcode = VDM_OP_MEMMOVE;
}

/* As memset(3), `c` is converted to unsigned char. */
static inline void vdm_prep_memset(struct vdm_sqe *sqe, void *dest, int c, size_t n, unsigned flags)
{
	sqe->opcode = VDM_OP_MEMSET;
	sqe->flags = (uint16_t)flags;
	sqe->value = (unsigned char)c;
	sqe->dest = dest;
	sqe->length = n;
}

static inline void vdm_prep_flush(struct vdm_sqe *sqe, void *dest, size_t n, unsigned flags)
{
	sqe->opcode = VDM_OP_FLUSH;
	sqe->flags = (uint16_t)flags;
	sqe->dest = dest;
	sqe->length = n;
}

static inline void vdm_sqe_set_data(struct vdm_sqe *sqe, void *data)
{
	sqe->user_data = (uint64_t)(uintptr_t)data;
}

static inline void *vdm_cqe_get_data(const struct vdm_cqe *cqe)
{
	return (void *)(uintptr_t)cqe->user_data;
}

/*
 * Submit all entries got since the last call. Rings the daemon's doorbell at most once. A bad entry
 * (unknown opcode or flag) completes with -EINVAL, as any failed operation completes. Returns the
 * number of entries submitted, or -EOWNERDEAD.
 */
int vdm_ring_submit(struct vdm_ring *ring);

/*
 * The next completion, without waiting. Returns 0; -EAGAIN when there is none; -EOWNERDEAD.
 * Once vdm_ring_eventfd() has been called, a peek that returns -EAGAIN also arms the descriptor: it
 * becomes readable when the next completion is there.
 */
int vdm_ring_peek_cqe(struct vdm_ring *ring, struct vdm_cqe **cqe);

/* Store up to `count` completions, oldest first, without waiting. Returns their number. */
unsigned vdm_ring_peek_batch(struct vdm_ring *ring, struct vdm_cqe **cqes, unsigned count);

/*
 * Wait until `count` completions (not more than are in flight or unseen) are there, then store the
 * first `count` in `cqes`. Spins for at most spin_us, then sleeps. `timeout` is relative, NULL for
 * none. Returns 0; -ETIME at the timeout; -EINVAL when fewer than `count` can ever come, or for a
 * timeout that is negative or has a tv_nsec of 10^9 or more; -EOWNERDEAD. When the daemon has died
 * and another one is being started, this waits for it for recovery_timeout_ms of struct vdm_options
 * at most, and then carries out what was in flight.
 *
 * If the daemon is awake but has not begun an operation of more than 16 KiB after 5 us of waiting,
 * the waiting thread carries it out. It does not while an operation with a fence or a link, or a
 * flush, is in flight and has not begun, and not if spin_us is VDM_NO_SPIN. It takes one of more
 * than 1 MiB only if it waits for everything that is in flight, without a timeout. (The last
 * operation, of up to 1 MiB, may overrun a timeout.)
 */
int vdm_ring_wait_cqes(struct vdm_ring *ring, struct vdm_cqe **cqes, unsigned count,
		       const struct timespec *timeout);

/* Wait for one completion, without a timeout. */
static inline int vdm_ring_wait_cqe(struct vdm_ring *ring, struct vdm_cqe **cqe)
{
	return vdm_ring_wait_cqes(ring, cqe, 1, NULL);
}

/* Mark the `count` oldest completions as seen: their memory is the library's again. */
void vdm_ring_cq_advance(struct vdm_ring *ring, unsigned count);

static inline void vdm_ring_cqe_seen(struct vdm_ring *ring, struct vdm_cqe *cqe)
{
	if (cqe)
		vdm_ring_cq_advance(ring, 1);
}

/*
 * A descriptor for poll(2), epoll(7), io_uring and event loops: readable when a completion has come
 * since the last peek that returned -EAGAIN, and when the daemon has gone. It stays the same when
 * another daemon serves the ring. Each time that it is
 * readable, peek until -EAGAIN, which clears it; do not read it. The first call opens it, and it
 * belongs to the ring. (It is an epoll instance rather than a bare eventfd(2), because a killed
 * daemon could not write to the latter.) Returns the descriptor, or a negative errno.
 */
int vdm_ring_eventfd(struct vdm_ring *ring);

#ifdef __cplusplus
}
#endif
#endif
