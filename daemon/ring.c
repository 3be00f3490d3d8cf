/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memfd.h"
#include "proto/passing.h"
#include "proto/ring.h"

/* Linux 5.14; older C libraries do not know it. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

#define DOORBELL_BYTES (100 << 10)

static void close_if_open(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int make_submission(struct ring *ring, int client_fds[VDM_RING_FD_COUNT])
{
	int fd = memfd_make_empty("vdm-submission", vdm_submission_size(ring->entries), PROT_READ,
				  0, &ring->submission);

	if (fd < 0)
		return fd;
	ring->files[0] = fd;
	client_fds[VDM_RING_FD_SUBMISSION] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return client_fds[VDM_RING_FD_SUBMISSION] < 0 ? -errno : 0;
}

static int make_completion(struct ring *ring, int client_fds[VDM_RING_FD_COUNT])
{
	/* our mapping is older than the seal that forbids writable ones */
	int fd = memfd_make_empty("vdm-completion", vdm_completion_size(ring->entries),
				  PROT_READ | PROT_WRITE, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL,
				  &ring->completion);

	if (fd < 0)
		return fd;
	ring->files[1] = fd;

	int result = memfd_open_read_only(fd);

	if (result == -EPERM) { /* a filer can open nothing: then the seal alone forbids writing */
		result = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (result < 0)
			return -errno;
	}
	client_fds[VDM_RING_FD_COMPLETION] = result;
	return result < 0 ? result : 0;
}

/*
 * Each channel is a socket pair, so that what waits for one end is in no queue of the other's.
 * enum vdm_ring_fd says why they are no eventfds.
 */
static int make_channel(int *ours, int *clients)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
		return -errno;
	passing_allow_fds(ends[0], false);
	*ours = ends[0];
	*clients = ends[1];
	return 0;
}

static int make_channels(struct ring *ring, int client_fds[VDM_RING_FD_COUNT])
{
	int result = make_channel(&ring->doorbell_fd, &client_fds[VDM_RING_FD_DOORBELL]);

	/* it has to take ENGINE_UNREAD_BELLS messages, of which each counts as some 768 bytes: do
	 * not rely on net.core.wmem_default */
	if (!result)
		setsockopt(client_fds[VDM_RING_FD_DOORBELL], SOL_SOCKET, SO_SNDBUF,
			   &(int){DOORBELL_BYTES}, sizeof(int));
	if (!result)
		result = make_channel(&ring->signal_fd, &client_fds[VDM_RING_FD_EVENT]);
	if (result)
		return result;
	/* the client could send descriptors to our end, which would be closed with it */
	shutdown(ring->signal_fd, SHUT_RD);
	/*
	 * one unread signal is as good as many, and they use memory for as long as the client keeps
	 * its end: allow as few as the kernel does, socket(7)
	 */
	setsockopt(ring->signal_fd, SOL_SOCKET, SO_SNDBUF, &(int){0}, sizeof(int));
	return 0;
}

int ring_make(struct ring *ring, int client_fds[VDM_RING_FD_COUNT])
{
	ring->files[0] = ring->files[1] = ring->doorbell_fd = ring->signal_fd = -1;
	for (unsigned i = 0; i < VDM_RING_FD_COUNT; i++)
		client_fds[i] = -1;

	int result = make_submission(ring, client_fds);

	if (!result)
		result = make_completion(ring, client_fds);
	if (!result)
		result = make_channels(ring, client_fds);
	if (result) {
		for (unsigned i = 0; i < VDM_RING_FD_COUNT; i++)
			close_if_open(&client_fds[i]);
		ring_unmake(ring);
	}
	return result;
}

const char *ring_check(const struct ring *ring)
{
	/*
	 * A worker that polls the ring would wait for a page that is being punched out, and all
	 * clients for the worker. The seals are read before the pages are counted.
	 */
	if (!(fcntl(ring->files[0], F_GET_SEALS) & F_SEAL_FUTURE_WRITE))
		return "it started a ring whose submission file lacks F_SEAL_FUTURE_WRITE: its "
		       "pages can be punched out";
	if (!memfd_is_populated(ring->files[0], vdm_submission_size(ring->entries)))
		return "it started a ring without having populated the submission file";
	if (!memfd_is_populated(ring->files[1], vdm_completion_size(ring->entries)))
		return "it started a ring without having populated the completion file";
	return NULL;
}

/*
 * Workers poll this memory with the engine's lock held: a page that its client has had swapped out
 * would keep all clients waiting. Where RLIMIT_MEMLOCK forbids that, the pages are at least mapped;
 * before Linux 5.14 workers map them one by one.
 */
static void keep_in_memory(void *base, size_t size)
{
	if (mlock(base, size) < 0)
		madvise(base, size, MADV_POPULATE_READ);
}

void ring_prepare(struct ring *ring)
{
	keep_in_memory(ring->submission, vdm_submission_size(ring->entries));
	keep_in_memory(ring->completion, vdm_completion_size(ring->entries));
	vdm_completion_prepare(ring->completion, ring->entries, ring->first_sequence);
}

void ring_close_files(struct ring *ring)
{
	for (unsigned i = 0; i < RING_FILES; i++)
		close_if_open(&ring->files[i]);
}

void ring_unmake(struct ring *ring)
{
	if (ring->submission)
		munmap(ring->submission, vdm_submission_size(ring->entries));
	if (ring->completion)
		munmap(ring->completion, vdm_completion_size(ring->entries));
	ring_close_files(ring);
	close_if_open(&ring->doorbell_fd);
	close_if_open(&ring->signal_fd);
}
