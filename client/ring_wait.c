/* SPDX-License-Identifier: BSD-3-Clause */
/* Finding completions: peeking, spinning, sleeping, and being told by a descriptor. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cancellation.h"
#include "base/cpu.h"
#include "error.h"
#include "fork.h"
#include "ring_internal.h"

/* A caller that only peeks or spins learns of the daemon's death by looking at the socket about this often. */
#define DEATH_LOOK_MS    100
#define PEEKS_PER_CLOCK  16

/* A wait of this length is long enough for a daemon that polls the ring to have begun an operation, unless it is busy
 * or has no CPU: what it has not begun is done here. */
#define TAKE_BACK_NS 5000

/* A daemon that takes so long to wake up, or to be done, has no CPU of its own: 10 times as long as on an idle machine. */
#define NO_CPU_NS 1000000

/* After a wait that was long enough, so many take back at once what is not begun: then the daemon is given its time
 * again. */
#define HURRIED_WAITS 64

/* The same, after a wait for a daemon that had no CPU: for so long, since to find out costs a sleep, and whom the daemon
 * wakes is likely to be moved to its CPU. */
#define STARVED_NS 1000000000

#define NS_PER_S    1000000000
#define NO_DEADLINE INT64_MAX

/* Turns of a spinning wait between two looks at the clock: about a microsecond. */
#define SPINS_PER_CLOCK 32

static int64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* A timeout that ends after the clock does never ends. */
static int64_t deadline_after(int64_t now, const struct timespec *timeout)
{
	if (!timeout || timeout->tv_sec >= (NO_DEADLINE - now) / NS_PER_S - 1)
		return NO_DEADLINE;
	return now + timeout->tv_sec * (int64_t)NS_PER_S + timeout->tv_nsec;
}

void ring_report(struct vdm_ring *ring, const struct pending *pending, uint64_t value, int32_t result)
{
	struct vdm_cqe *cqe = &ring->cqes[ring->cqe_tail++ & (ring->entries - 1)];

	*cqe = (struct vdm_cqe){.user_data = pending->user_data,
				.value = value,
				.result = result,
				.operation = pending->number};
	if (result)
		ring_count(&ring->counters.failed, 1);
}

/* It is in flight no more. */
static void retire(struct vdm_ring *ring, struct pending *pending)
{
	pending->state = PENDING_NONE;
	pending->next = ring->free_pending;
	ring->free_pending = (uint32_t)(pending - ring->pending);
}

/* The completion of an operation that has been taken back, in time or perhaps too late. */
static void reap_taken_back(struct vdm_ring *ring, struct pending *pending, const struct vdm_completion *slot)
{
	uint64_t value = slot->value;
	int result = slot->result;

	if (pending->state == PENDING_TAKEN_BACK) {
		ring->taken_back--;
		return;
	}
	if (pending->state == PENDING_CONTESTED)
		ring->contested--;
	if (slot->flags & VDM_COMPLETION_TAKEN_BACK) {
		value = 0;
		result = ring_carry_out(ring, pending->position, &value);
	}
	ring_report(ring, pending, value, result);
}

void ring_reap(struct vdm_ring *ring)
{
	while (ring_in_flight(ring) > 0 && ring->connected) {
		const struct vdm_completion *slot =
			&ring->completions[ring->cq_position & (ring->entries - 1)];

		/* acquire; partner: consumer_complete(), release: who sees this word sees the bytes moved */
		if (atomic_load_explicit(&slot->sequence, memory_order_acquire) !=
		    ring->cq_position + 1)
			break;

		uint64_t index = slot->user_data;

		ring->cq_position++;
		if (index >= ring->entries)
			continue;

		struct pending *pending = &ring->pending[index];

		if (slot->flags & VDM_COMPLETION_TAKEN_BACK || pending->state != PENDING_ACTIVE)
			reap_taken_back(ring, pending, slot);
		else
			ring_report(ring, pending, slot->value, slot->result);
		retire(ring, pending);
	}
	if (ring_in_flight(ring) == 0) {
		ring_set_busy(ring, false);
		ring->ordered = ring->cq_position; /* never so far behind that it seems to be ahead */
	}
}

void ring_signal_self(struct vdm_ring *ring)
{
	WITHOUT_CANCELLATION; /* it may be called between ring_enter() and ring_leave() */
	if (!ring->self_signalled)
		eventfd_write(ring->self_fd, 1);
	ring->self_signalled = true;
}

void ring_lost(struct vdm_ring *ring)
{
	ring_reap(ring); /* what it completed before it went is complete */
	ring->connected = false;
	for (uint32_t i = 0; i < ring->entries; i++) {
		if (ring->pending[i].state == PENDING_NONE)
			continue;
		if (ring->pending[i].state != PENDING_TAKEN_BACK)
			ring_report(ring, &ring->pending[i], 0, -ENOTCONN);
		retire(ring, &ring->pending[i]);
	}
	ring->taken_back = ring->contested = 0;
	ring->cq_position = ring->sq_position; /* nothing is in flight */
	ring_set_busy(ring, false);
	if (ring->poll_fd >= 0)
		epoll_ctl(ring->poll_fd, EPOLL_CTL_DEL, ring->event_fd, NULL);
}

/* Take the signals that have come; notice if no more can. */
static void take_signals(struct vdm_ring *ring)
{
	uint64_t signal;

	while (ring->connected) {
		ssize_t got = recv(ring->event_fd, &signal, sizeof signal, MSG_DONTWAIT);

		if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
			ring_lost(ring);
		else if (got < 0)
			return;
	}
}

/* Collect and go on with what waited for it. */
static void progress(struct vdm_ring *ring)
{
	ring_reap(ring);
	ring_advance(ring);
}

void ring_arm(struct vdm_ring *ring, uint32_t wanted)
{
	/* relaxed, ordered by the release that follows; partner: consumer_signal() */
	atomic_store_explicit(&ring->client_line->wanted, wanted, memory_order_relaxed);
	/* release, then full barrier; partner: consumer_signal(), which publishes, passes a full barrier and
	 * reads this (I6) */
	atomic_store_explicit(&ring->client_line->arm, ++ring->arms, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
}

/* Have vdm_ring_eventfd()'s descriptor become readable when the next completion is there, and look again. */
static void arm_for_next(struct vdm_ring *ring)
{
	if (ring->connected && (!ring->armed || ring->armed_at != ring->cq_position)) {
		ring->armed_at = ring->cq_position;
		ring_arm(ring, ring->cq_position + 1);
	}
	ring->armed = true;
	progress(ring);
}

/* A peek found nothing. */
static void arm_descriptor(struct vdm_ring *ring)
{
	WITHOUT_CANCELLATION;
	uint64_t value;

	if (ring->self_signalled && read(ring->self_fd, &value, sizeof value) >= 0)
		ring->self_signalled = false;
	take_signals(ring);
	arm_for_next(ring);
}

/*
 * A wait has taken the signals that came, and replaced what the descriptor was armed for. The caller is given `given`
 * completions: the descriptor has to tell of all others, of those that are here already and of those that will come.
 */
static void tell_descriptor(struct vdm_ring *ring, unsigned given)
{
	if (!ring->armed)
		arm_for_next(ring);
	if (ring_unseen(ring) > given)
		ring_signal_self(ring);
}

/* Nothing has come, and there was no sleep: still notice in good time that the daemon died. */
static void look_for_death(struct vdm_ring *ring)
{
	if (ring_in_flight(ring) == 0 || ++ring->death_looks % PEEKS_PER_CLOCK != 0)
		return;

	int64_t now = clock_ns(CLOCK_MONOTONIC_COARSE) / 1000000;

	if (now - ring->death_looked_ms < DEATH_LOOK_MS)
		return;
	ring->death_looked_ms = now;
	WITHOUT_CANCELLATION;
	/* The signals themselves stay: another thread, of a mover, may be sleeping for them. */
	struct pollfd event = {.fd = ring->event_fd, .events = POLLRDHUP};

	if (ring->connected && poll(&event, 1, 0) > 0)
		ring_lost(ring);
}

void ring_poll(struct vdm_ring *ring)
{
	progress(ring);
	if (ring_unseen(ring) == 0)
		look_for_death(ring);
}

unsigned vdm_ring_peek_batch(struct vdm_ring *ring, struct vdm_cqe **cqes, unsigned count)
{
	if (fork_happened(ring->epoch))
		return 0;
	if (ring_unseen(ring) < count)
		progress(ring);
	if (ring_unseen(ring) == 0) {
		if (ring->poll_fd >= 0)
			arm_descriptor(ring);
		else
			look_for_death(ring);
	}
	if (count > ring_unseen(ring))
		count = ring_unseen(ring);
	for (unsigned i = 0; i < count; i++)
		cqes[i] = &ring->cqes[(ring->cqe_head + i) & (ring->entries - 1)];
	return count;
}

int vdm_ring_peek_cqe(struct vdm_ring *ring, struct vdm_cqe **cqe)
{
	if (fork_happened(ring->epoch))
		return fork_error();
	return vdm_ring_peek_batch(ring, cqe, 1) == 1 ? 0 : -EAGAIN;
}

/* Sleep until `deadline` (ns, CLOCK_MONOTONIC) or until completions may have come. */
static void sleep_for(struct vdm_ring *ring, uint32_t missing, int64_t deadline)
{
	/* What waits behind a fence comes only after what is in flight: then wake for each. */
	uint32_t coming = ring->taken == ring->submitted ? missing : 1;
	uint32_t before = ring->cq_position;

	ring_arm(ring, ring->cq_position + coming);
	ring->armed = false; /* vdm_ring_eventfd()'s has been replaced */
	progress(ring);
	if (ring->cq_position != before || !ring->connected)
		return; /* something has come: count again */

	struct pollfd event = {.fd = ring->event_fd, .events = POLLIN};
	int64_t ns = deadline - clock_ns(CLOCK_MONOTONIC);
	struct timespec left = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};

	if (ns <= 0)
		return;
	ring_count(&ring->counters.sleeps, 1);
	ppoll(&event, 1, deadline == NO_DEADLINE ? NULL : &left, NULL);
	take_signals(ring);
}

/* Operations that will yield a completion. */
static uint32_t outstanding(const struct vdm_ring *ring)
{
	return ring_in_flight(ring) - ring->taken_back + (ring->submitted - ring->taken);
}

/* Whether to take back at once, without having been patient. */
static bool is_in_hurry(struct vdm_ring *ring)
{
	if (ring->hurry > 0) {
		ring->hurry--;
		return true;
	}
	if (ring->starved_until == 0)
		return false;
	/* of the resolution of a tick, and five times as cheap */
	if (clock_ns(CLOCK_MONOTONIC_COARSE) >= ring->starved_until)
		ring->starved_until = 0;
	return ring->starved_until != 0;
}

/* How a wait goes on. */
struct wait {
	unsigned count;       /* completions wanted */
	bool timed;
	bool hurry;           /* take back what the daemon has not begun */
	int64_t begin;        /* ns, CLOCK_MONOTONIC; 0: the clock has not been looked at yet */
	int64_t deadline;
	int64_t patient_from; /* since when the daemon could have begun; 0: not known */
};

/* Do something for the wait that takes its time, and needs no CPU of others. Returns whether there was anything to do. */
static bool wait_take_back(struct vdm_ring *ring, struct wait *wait)
{
	bool all = wait->count - ring_unseen(ring) == outstanding(ring);

	if (!wait->hurry || !ring_take_back(ring, !wait->timed && all))
		return false;
	if (wait->patient_from)
		ring->hurry = HURRIED_WAITS;
	return true;
}

/* Give the daemon its time, and then be in a hurry. Returns whether to go on spinning without giving the CPU away. */
static bool wait_is_patient(struct vdm_ring *ring, struct wait *wait, int64_t now)
{
	if (wait->hurry || ring->spin_us == 0)
		return false;
	if (wait->patient_from == 0 || ring_is_summoned(ring))
		wait->patient_from = now;
	wait->hurry = now - wait->patient_from >= TAKE_BACK_NS;
	return wait->hurry || now - wait->begin < TAKE_BACK_NS;
}

/* Look at the clock, and give the CPU away for a moment or until something comes. Returns 0 or -ETIME. */
static int wait_look(struct vdm_ring *ring, struct wait *wait, const struct timespec *timeout)
{
	int64_t now = clock_ns(CLOCK_MONOTONIC);

	if (wait->begin == 0) {
		wait->begin = now;
		wait->deadline = deadline_after(now, timeout);
	}
	if (now >= wait->deadline)
		return -ETIME;
	if (wait_is_patient(ring, wait, now))
		return 0;
	if (now - wait->begin < ring->spin_us * 1000ll) {
		look_for_death(ring);
		sched_yield(); /* on a busy machine the daemon may be waiting for this CPU */
		return 0;
	}
	sleep_for(ring, wait->count - ring_unseen(ring), wait->deadline);
	wait->patient_from = 0;
	if (ring->spin_us > 0 && clock_ns(CLOCK_MONOTONIC) - now >= NO_CPU_NS)
		ring->starved_until = now + STARVED_NS;
	return 0;
}

static int wait_for(struct vdm_ring *ring, unsigned count, const struct timespec *timeout)
{
	struct wait wait = {.count = count, .timed = timeout != NULL, .hurry = is_in_hurry(ring)};
	int result = 0;

	for (unsigned turn = 1; !result; turn++) {
		bool took = wait_take_back(ring, &wait);

		if (ring_unseen(ring) < count)
			progress(ring);
		if (ring_unseen(ring) >= count)
			break;
		if (took && !timeout)
			continue;
		if (!took && turn % SPINS_PER_CLOCK != 0 && ring->spin_us > 0)
			cpu_relax();
		else
			result = wait_look(ring, &wait, timeout);
	}
	return result;
}

/* What has not come yet is waited for. */
static int wait_longer(struct vdm_ring *ring, unsigned count, const struct timespec *timeout)
{
	if (count > ring_unseen(ring) + outstanding(ring))
		return fail(-EINVAL, "cannot wait for %u completions: %u operations are unseen or in "
				     "flight (has the batch been submitted?)", count,
			    ring_unseen(ring) + outstanding(ring));
	return wait_for(ring, count, timeout);
}

static bool is_timeout(const struct timespec *timeout)
{
	return timeout->tv_sec >= 0 && timeout->tv_nsec >= 0 && timeout->tv_nsec < NS_PER_S;
}

int vdm_ring_wait_cqes(struct vdm_ring *ring, struct vdm_cqe **cqes, unsigned count,
		       const struct timespec *timeout)
{
	int result = 0;

	if (fork_happened(ring->epoch))
		return fork_error();
	if (timeout && !is_timeout(timeout))
		return fail(-EINVAL, "a timeout of %lld s and %ld ns is none: seconds from 0, nanoseconds from 0 to "
				     "999999999", (long long)timeout->tv_sec, timeout->tv_nsec);
	if (ring_unseen(ring) < count)
		progress(ring);
	if (ring_unseen(ring) < count)
		result = wait_longer(ring, count, timeout);
	if (ring->poll_fd >= 0)
		tell_descriptor(ring, result ? 0 : count);
	for (unsigned i = 0; !result && i < count; i++)
		cqes[i] = &ring->cqes[(ring->cqe_head + i) & (ring->entries - 1)];
	return result;
}

int vdm_ring_eventfd(struct vdm_ring *ring)
{
	if (fork_happened(ring->epoch))
		return fork_error();
	if (ring->poll_fd >= 0)
		return ring->poll_fd;

	struct epoll_event event = {.events = EPOLLIN};
	int poll_fd = epoll_create1(EPOLL_CLOEXEC);
	int self_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (poll_fd < 0 || self_fd < 0 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, self_fd, &event) < 0 ||
	    (ring->connected && epoll_ctl(poll_fd, EPOLL_CTL_ADD, ring->event_fd, &event) < 0)) {
		int error = errno;

		if (poll_fd >= 0)
			close(poll_fd);
		if (self_fd >= 0)
			close(self_fd);
		return fail(-error, "cannot open a descriptor for the ring");
	}
	ring->poll_fd = poll_fd;
	ring->self_fd = self_fd;
	arm_descriptor(ring);
	/* What is there already has to be found through the descriptor too. */
	if (ring_unseen(ring) > 0)
		ring_signal_self(ring);
	return poll_fd;
}
