/* SPDX-License-Identifier: BSD-3-Clause */
/* Completions in an event loop: the ring's descriptor beside others in one epoll(7) set. */
#include <errno.h>
#include <libvdm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define COPIES 100
#define BYTES  ((size_t)1 << 20)

static struct vdm_ring *ring;
static char *from, *to;
static unsigned submitted, completed;

static void submit_one(void)
{
	vdm_prep_memcpy(vdm_ring_get_sqe(ring), to, from, BYTES, 0);
	vdm_ring_submit(ring);
	submitted++;
}

/* Do not read the descriptor: peeking until there is no completion clears it. */
static int on_ring(void)
{
	struct vdm_cqe *cqe;
	int result;

	while ((result = vdm_ring_peek_cqe(ring, &cqe)) == 0) {
		if (cqe->result) {
			fprintf(stderr, "copy: %s\n", strerror(-cqe->result));
			return -1;
		}
		vdm_ring_cqe_seen(ring, cqe);
		completed++;
		if (submitted < COPIES)
			submit_one();
	}
	return result == -EAGAIN ? 0 : -1;
}

int main(void)
{
	struct itimerspec often = {.it_interval.tv_nsec = 1000000, .it_value.tv_nsec = 1000000};
	struct vdm_client *client = vdm_client_default();
	struct vdm_region *from_region, *to_region;
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	unsigned long ticks = 0;

	if (vdm_region_alloc(client, BYTES, &from_region) ||
	    vdm_region_alloc(client, BYTES, &to_region) || vdm_ring_open(client, NULL, &ring)) {
		fprintf(stderr, "%s\n", vdm_last_error());
		return 1;
	}
	from = vdm_region_address(from_region);
	to = vdm_region_address(to_region);
	memset(from, 'x', BYTES);

	int ring_fd = vdm_ring_eventfd(ring);

	event.data.fd = ring_fd;
	epoll_ctl(epoll, EPOLL_CTL_ADD, ring_fd, &event);
	event.data.fd = timer;
	epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
	timerfd_settime(timer, 0, &often, NULL);

	for (unsigned i = 0; i < 4; i++)
		submit_one();
	if (on_ring() < 0) /* the first peek that finds nothing arms the descriptor */
		return 1;
	while (completed < COPIES) {
		uint64_t expirations;

		if (epoll_wait(epoll, &event, 1, -1) < 0)
			return 1;
		if (event.data.fd == ring_fd && on_ring() < 0)
			return 1;
		if (event.data.fd == timer && read(timer, &expirations, sizeof expirations) > 0)
			ticks += expirations;
	}
	printf("%u copies of %zu bytes; the loop's timer ticked %lu times meanwhile\n", completed,
	       BYTES, ticks);
	int wrong = memcmp(from, to, BYTES) != 0;

	vdm_ring_close(ring);
	vdm_region_release(from_region);
	vdm_region_release(to_region);
	close(timer);
	close(epoll);
	return wrong;
}
