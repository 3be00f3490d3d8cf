/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "holes.h"
#include "memfd.h"
#include "proto/ring.h"
#include "reaper.h"
#include "refusal.h"

static void close_if_open(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int ring_check(int fd, uint32_t entries, int holes_fd, char text[VDM_REFUSAL_TEXT])
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat status;
	int result = memfd_check_kind(fd, seals, &status, text);

	if (result)
		return result;
	/*
	 * A worker that polls the ring would wait for a page that is being punched out, and all
	 * clients for the worker.
	 */
	if (!(seals & (F_SEAL_FUTURE_WRITE | F_SEAL_WRITE)))
		return refuse(
			text, -EPERM,
			"pages of the memfd for submissions can be punched out: map it, and then "
			"add F_SEAL_FUTURE_WRITE");
	result = memfd_check_pages(&status, seals, vdm_submission_size(entries), text);
	/* the pages that were counted may lie beyond the end */
	if (!result && holes_fd >= 0 &&
	    holes_find(holes_fd, fd, vdm_submission_size(entries)) == -ENODATA)
		result = memfd_refuse_holes(text);
	return result;
}

static int map_submission(struct ring *ring, int fd)
{
	void *mapped = mmap(NULL, vdm_submission_size(ring->entries), PROT_READ,
			    MAP_SHARED | MAP_POPULATE, fd, 0);

	if (mapped == MAP_FAILED)
		return -errno;
	ring->submission = mapped;
	return 0;
}

static int make_completion(struct ring *ring, int client_fds[VDM_RING_FD_COUNT])
{
	int fd =
		memfd_make("vdm-completion", vdm_completion_size(ring->entries), &ring->completion);

	if (fd < 0)
		return fd;
	client_fds[VDM_RING_FD_COMPLETION] = memfd_open_read_only(fd);
	close(fd);
	return client_fds[VDM_RING_FD_COMPLETION] < 0 ? client_fds[VDM_RING_FD_COMPLETION] : 0;
}

static int make_channels(struct ring *ring, int client_fds[VDM_RING_FD_COUNT])
{
	int ends[2];

	ring->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ring->doorbell_fd < 0)
		return -errno;
	client_fds[VDM_RING_FD_DOORBELL] = fcntl(ring->doorbell_fd, F_DUPFD_CLOEXEC, 0);
	if (client_fds[VDM_RING_FD_DOORBELL] < 0)
		return -errno;
	/* enum vdm_ring_fd says why this is no eventfd */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
		return -errno;
	/* the client could send descriptors to our end, which would be closed with it */
	shutdown(ends[0], SHUT_RD);
	/*
	 * one unread signal is as good as many, and they use memory for as long as the client keeps
	 * its end: allow as few as the kernel does, socket(7)
	 */
	setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &(int){0}, sizeof(int));
	ring->signal_fd = ends[0];
	client_fds[VDM_RING_FD_EVENT] = ends[1];
	return 0;
}

int ring_make(struct ring *ring, int submission_fd, uint32_t entries, uint32_t first_sequence,
	      int client_fds[VDM_RING_FD_COUNT])
{
	ring->entries = entries;
	ring->doorbell_fd = ring->signal_fd = -1;
	for (unsigned i = 0; i < VDM_RING_FD_COUNT; i++)
		client_fds[i] = -1;

	int result = map_submission(ring, submission_fd);

	if (!result)
		result = make_completion(ring, client_fds);
	if (!result)
		result = make_channels(ring, client_fds);
	if (!result) {
		vdm_completion_prepare(ring->completion, entries, first_sequence);
	} else {
		for (unsigned i = 0; i < VDM_RING_FD_COUNT; i++)
			close_if_open(&client_fds[i]);
		ring_unmake(ring);
	}
	return result;
}

void ring_unmake(struct ring *ring)
{
	if (ring->submission)
		munmap(ring->submission, vdm_submission_size(ring->entries));
	if (ring->completion)
		munmap(ring->completion, vdm_completion_size(ring->entries));
	close_if_open(&ring->doorbell_fd);
	close_if_open(&ring->signal_fd);
}

void ring_dispose(struct ring *ring, struct reaper *reaper, struct user *user, bool empty)
{
	struct reaper_job *job = reaper_job_new(user, 2);

	if (!job) {
		ring_unmake(ring);
		return;
	}
	reaper_job_add_memory(job, ring->submission, vdm_submission_size(ring->entries), false);
	reaper_job_add_memory(job, ring->completion, vdm_completion_size(ring->entries), empty);
	reaper_job_add_fd(job, ring->doorbell_fd);
	reaper_job_add_fd(job, ring->signal_fd);
	reaper_submit(reaper, job);
}
