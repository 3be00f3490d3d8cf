/* SPDX-License-Identifier: BSD-3-Clause */
#include "file_uring.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES 128

/* Threads of the kernel, for what would wait; of each of its two kinds, io_uring_register(2). */
#define MOST_WORKERS 4

/* A read or write of more is made in steps of this size: Linux moves no more than 2 GiB at once. */
#define MOST_BYTES ((size_t)1 << 30)

/* A larger read is left to a thread of the kernel: it would keep others waiting. */
#define MOST_BYTES_AT_ONCE ((size_t)64 << 10)

/*
 * A process that its user may take over has the ring: through it, no file can be opened and no
 * socket connected. Before Linux 5.10 there are no restrictions. Returns 0 or a negative errno.
 */
static int make_ring(struct io_uring *ring, bool *restricted)
{
	int result = io_uring_queue_init(ENTRIES, ring, IORING_SETUP_R_DISABLED);

	*restricted = result != -EINVAL;
	return *restricted ? result : io_uring_queue_init(ENTRIES, ring, 0);
}

/* liburing 2.3 has functions for this in its static library only. */
static int call_register(const struct io_uring *ring, unsigned what, const void *argument,
			 unsigned count)
{
	return syscall(SYS_io_uring_register, ring->ring_fd, what, argument, count) < 0 ? -errno
											: 0;
}

/* Allow what file_uring_begin() asks for, and nothing else. */
static int restrict_ring(const struct io_uring *ring)
{
	static const struct io_uring_restriction allowed[] = {
		{.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READ},
		{.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITE},
		{.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_FSYNC},
		{.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_ASYNC},
	};
	int result = call_register(ring, IORING_REGISTER_RESTRICTIONS, allowed,
				   sizeof allowed / sizeof *allowed);

	return result ? result : call_register(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static int set_up_ring(struct file_uring *uring, bool restricted)
{
	unsigned workers[2] = {MOST_WORKERS, MOST_WORKERS};
	/* Not only for what finishes later (IORING_REGISTER_EVENTFD_ASYNC): what a thread of the
	 * kernel has done may be completed by the thread that submitted it, without an event. */
	int result = io_uring_register_eventfd(&uring->ring, uring->event_fd);

	if (result == 0)
		result = io_uring_register_iowq_max_workers(&uring->ring, workers);
	if (result == 0 && restricted)
		result = restrict_ring(&uring->ring);
	return result;
}

int file_uring_open(struct file_uring *uring)
{
	bool restricted;
	int result;

	*uring = (struct file_uring){.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	if (uring->event_fd < 0)
		return -errno;
	result = make_ring(&uring->ring, &restricted);
	if (result < 0) {
		close(uring->event_fd);
		uring->event_fd = -1;
		return result;
	}
	result = set_up_ring(uring, restricted);
	if (result < 0)
		file_uring_close(uring);
	return result < 0 ? result : 0;
}

void file_uring_close(struct file_uring *uring)
{
	if (uring->event_fd < 0)
		return;
	io_uring_queue_exit(&uring->ring);
	close(uring->event_fd);
	uring->event_fd = -1;
}

bool file_uring_takes(const struct file_uring *uring, const struct file_work *work)
{
	return !uring->forbidden && (work->action == FILE_READ || work->action == FILE_WRITE ||
				     work->action == FILE_SYNC);
}

/* The system has no memory for it now, or no room. */
static bool may_retry(int result)
{
	return result == -EAGAIN || result == -EBUSY || result == -ENOMEM || result == -EINTR;
}

void file_uring_flush(struct file_uring *uring)
{
	int result;

	do
		result = io_uring_submit(&uring->ring);
	while (result == -EINTR);
	if (result < 0 && !may_retry(result))
		uring->forbidden = true;

	const bool unsubmitted = io_uring_sq_ready(&uring->ring) > 0;

	if (unsubmitted && !uring->unsubmitted)
		eventfd_write(uring->event_fd, 1); /* its reader tries again later */
	uring->unsubmitted = unsubmitted;
}

/*
 * Whether the kernel tries it during the submission, and then has no thread wait for its pages, so
 * that many reads can be in progress. Of a file that can be polled, as those of FUSE can, Linux
 * expects that no read waits: the submission would hang with the file system.
 */
static bool is_tried_first(const struct file_work *work, size_t size)
{
	return work->action == FILE_READ && work->may_not_wait && size <= MOST_BYTES_AT_ONCE;
}

int file_uring_begin(struct file_uring *uring, struct file_work *work)
{
	const unsigned size = (unsigned)(work->left < MOST_BYTES ? work->left : MOST_BYTES);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

	if (!sqe)
		return -EAGAIN;
	switch (work->action) {
	case FILE_READ:
		io_uring_prep_read(sqe, work->fd, work->memory, size, work->position);
		break;
	case FILE_WRITE:
		io_uring_prep_write(sqe, work->fd, work->memory, size, work->position);
		break;
	default:
		io_uring_prep_fsync(sqe, work->fd, IORING_FSYNC_DATASYNC);
	}
	if (!is_tried_first(work, size))
		io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
	io_uring_sqe_set_data(sqe, work);
	uring->in_progress++;
	file_uring_flush(uring);
	return 0;
}

/*
 * The kernel has no thread for it now, or has ended the one that was at it. A sync is not tried
 * again: its file system may have said so, and would say nothing the next time.
 */
static bool is_given_up(const struct file_work *work, int result)
{
	return (result == -EAGAIN || result == -ECANCELED) && work->action != FILE_SYNC;
}

/* Returns whether it is finished. */
static bool step(struct file_work *work, int result)
{
	if (work->action != FILE_SYNC)
		return file_work_stepped(work, result);
	work->error = result < 0 ? result : 0;
	return true;
}

/* What the kernel has not taken, and never will. */
static void take_back(struct file_uring *uring, struct file_works *given_up)
{
	struct io_uring_sq *sq = &uring->ring.sq;
	const unsigned ready = io_uring_sq_ready(&uring->ring);

	for (unsigned i = 0; i < ready; i++) {
		const struct io_uring_sqe *sqe =
			&sq->sqes[(sq->sqe_tail - ready + i) & *sq->kring_mask];
		struct file_work *work = (struct file_work *)(uintptr_t)sqe->user_data;

		STAILQ_INSERT_TAIL(given_up, work, entry);
		uring->in_progress--;
	}
	sq->sqe_tail = sq->sqe_head = *sq->khead;
	uring->unsubmitted = false;
}

void file_uring_reap(struct file_uring *uring, struct file_works *finished,
		     struct file_works *given_up)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
		struct file_work *work = io_uring_cqe_get_data(cqe);
		const int result = cqe->res;

		io_uring_cqe_seen(&uring->ring, cqe);
		uring->in_progress--;
		if (!is_given_up(work, result) && step(work, result))
			STAILQ_INSERT_TAIL(finished, work, entry);
		else if (is_given_up(work, result) || uring->forbidden ||
			 file_uring_begin(uring, work))
			STAILQ_INSERT_TAIL(given_up, work, entry);
	}
	if (uring->forbidden && uring->unsubmitted)
		take_back(uring, given_up);
}
