/* SPDX-License-Identifier: BSD-3-Clause */
/* Waiting for completions: spinning, carrying out what the daemon has not begun, and sleeping. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "coarse_clock.h"
#include "error.h"
#include "fork.h"
#include "ring_eventfd.h"
#include "ring_hangup.h"
#include "ring_progress.h"
#include "ring_signal.h"
#include "ring_take_back.h"

/* A daemon that polls the ring begins an operation within this time, unless it is busy or starved
 * of CPU. What it has not begun by then, the wait takes back. */
#define TAKE_BACK_NS 5000

/* After a wait that has lasted that long and taken something back, this many waits take back at
 * once. Then the daemon is given its time again. */
#define EAGER_WAITS 64

/* A daemon that needs this long to wake up and to complete something is starved of CPU: it is 10
 * times what it needs on an idle machine. */
#define STARVED_NS 1000000

/* For this long after a wait for a starved daemon, waits take back at once. To find out again would
 * cost a sleep, and the scheduler is likely to move a thread that the daemon wakes to the daemon's
 * CPU. */
#define EAGER_NS 1000000000

#define NS_PER_S    1000000000
#define NO_DEADLINE INT64_MAX

/* Turns of a spinning wait between two looks at the clock: about a microsecond. */
#define SPINS_PER_CLOCK 32

struct wait {
	unsigned count; /* completions wanted */
	bool timed;
	bool eager;           /* take back what the daemon has not begun */
	int64_t begin;        /* ns, CLOCK_MONOTONIC; 0: the clock has not been looked at yet */
	int64_t deadline;     /* ns, CLOCK_MONOTONIC */
	int64_t patient_from; /* when the daemon could have begun; 0: not known */
};

static int64_t now_ns(void)
{
	return (int64_t)monotonic_ns();
}

/* A timeout that ends after the clock does never ends. */
static int64_t deadline_after(int64_t now, const struct timespec *timeout)
{
	if (!timeout || timeout->tv_sec >= (NO_DEADLINE - now) / NS_PER_S - 1)
		return NO_DEADLINE;
	return now + timeout->tv_sec * (int64_t)NS_PER_S + timeout->tv_nsec;
}

/* A cancelled wait leaves the ring as one that has timed out. */
static void end_cancelled_wait(void *ring)
{
	struct vdm_ring *of = ring;

	of->patience_ms = 0;
	if (of->poll_fd >= 0)
		ring_eventfd_after_wait(of, 0);
}

/* Counts completions of all lanes. */
static uint32_t reaped(const struct vdm_ring *ring)
{
	uint32_t sum = ring->cq_position;

	for (unsigned i = 0; ring->has_lanes && i < FILE_LANES; i++)
		sum += ring->lanes[i] ? ring->lanes[i]->cq_position : 0;
	return sum;
}

/* How many lanes have operations in flight. */
static unsigned lanes_in_flight(const struct vdm_ring *ring)
{
	unsigned count = ring_in_flight(ring) > 0;

	for (unsigned i = 0; ring->has_lanes && i < FILE_LANES; i++)
		count += ring->lanes[i] && ring_in_flight(ring->lanes[i]) > 0;
	return count;
}

/* The ring and its file lanes. */
#define SIDES (1 + FILE_LANES)

/* Ask each side for a signal when `coming` more are complete. Returns whether there is one. */
static bool arm_sides(struct vdm_ring *ring, uint32_t coming, struct pollfd events[SIDES])
{
	bool any = false;

	for (unsigned i = 0; i < SIDES; i++) {
		struct vdm_ring *side = i == 0 ? ring : ring->lanes[i - 1];
		const bool may = side && side->connected && (i == 0 || ring_in_flight(side) > 0);

		if (may)
			ring_arm(side, side->cq_position + coming);
		any |= may;
		/* one that is -1 is ignored */
		events[i] = (struct pollfd){.fd = may ? side->event_fd : -1, .events = POLLIN};
	}
	return any;
}

/* Sleep until the deadline or until `missing` completions may have come. */
static void sleep_until(struct vdm_ring *ring, uint32_t missing, int64_t deadline)
{
	/* Operations that wait behind a fence are published only when what is in flight completes:
	 * wake for each. */
	const bool one_lane = lanes_in_flight(ring) <= 1;
	uint32_t coming = one_lane && ring->dispatched == ring->submitted ? missing : 1;
	const uint32_t before = reaped(ring), dispatched = ring->dispatched;
	struct pollfd events[SIDES];

	const bool can_come = arm_sides(ring, coming, events);

	ring->armed = false; /* vdm_ring_eventfd()'s request has been replaced */
	ring_progress(ring);
	if (reaped(ring) != before || ring->dispatched != dispatched || !can_come)
		return; /* something has come, or gone to a side that is not armed: count again */

	int64_t ns = deadline - now_ns();
	struct timespec left = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};

	if (ns <= 0)
		return;
	ring_count(&ring->counters.sleeps, 1);
	pthread_cleanup_push(end_cancelled_wait, ring);
	ppoll(events, SIDES, deadline == NO_DEADLINE ? NULL : &left, NULL);
	ring_take_signals(ring); /* recv(2) is a cancellation point, too */
	pthread_cleanup_pop(0);
}

/* Operations that will yield a completion. */
static uint32_t outstanding(const struct vdm_ring *ring)
{
	return ring_in_flight(ring) - ring->taken_back + ring_files_in_flight(ring) +
	       (ring->submitted - ring->dispatched);
}

/* Whether a wait takes back at once, without giving the daemon its time. */
static bool begins_eager(struct vdm_ring *ring)
{
	if (ring->eager_waits > 0) {
		ring->eager_waits--;
		return true;
	}
	if (ring->eager_until == 0)
		return false;
	if (coarse_ns() >= ring->eager_until)
		ring->eager_until = 0;
	return ring->eager_until != 0;
}

/* Carry out something that the daemon has not begun. Returns whether there was anything. */
static bool wait_take_back(struct vdm_ring *ring, struct wait *wait)
{
	bool all = wait->count - ring_unseen(ring) == outstanding(ring);

	if (!wait->eager || !ring_take_back(ring, !wait->timed && all))
		return false;
	if (wait->patient_from)
		ring->eager_waits = EAGER_WAITS;
	return true;
}

/* Give the daemon its time, and become eager when that is over. Returns whether to spin on without
 * giving the CPU away. */
static bool wait_spins_on(struct vdm_ring *ring, struct wait *wait, int64_t now)
{
	if (wait->eager || ring->spin_us == 0)
		return false;
	if (wait->patient_from == 0 || ring_doorbell_unanswered(ring))
		wait->patient_from = now;
	wait->eager = now - wait->patient_from >= TAKE_BACK_NS;
	return wait->eager || now - wait->begin < TAKE_BACK_NS;
}

/* Look at the clock, and give the CPU away for a moment or until something comes. Returns 0 or
 * -ETIME. */
static int wait_pause(struct vdm_ring *ring, struct wait *wait, const struct timespec *timeout)
{
	int64_t now = now_ns();

	if (wait->begin == 0) {
		wait->begin = now;
		wait->deadline = deadline_after(now, timeout);
	}
	if (now >= wait->deadline) {
		ring_look_for_hangup(ring); /* there may have been no time to sleep */
		return -ETIME;
	}
	if (wait_spins_on(ring, wait, now))
		return 0;
	if (now - wait->begin < ring->spin_us * 1000ll) {
		ring_look_for_hangup(ring);
		sched_yield(); /* the daemon may be waiting for this CPU */
		return 0;
	}
	/* how long a file takes says nothing about the daemon */
	const bool for_daemon = ring_files_in_flight(ring) == 0;

	sleep_until(ring, wait->count - ring_unseen(ring), wait->deadline);
	wait->patient_from = 0;
	if (for_daemon && ring->spin_us > 0 && now_ns() - now >= STARVED_NS)
		ring->eager_until = now + EAGER_NS;
	return 0;
}

/* How long this wait may wait for a daemon that is being started. */
static unsigned patience_ms(const struct vdm_ring *ring, const struct timespec *timeout)
{
	const unsigned most = ring->client ? ring->client->options.recovery_timeout_ms : 0;

	if (!timeout || timeout->tv_sec > most / 1000)
		return most;

	const long ms = timeout->tv_sec * 1000 + timeout->tv_nsec / 1000000;

	return ms < (long)most ? (unsigned)ms : most;
}

/*
 * Wait until `count` completions are unseen. Returns 0, -ETIME, or -EINVAL: so many can never come.
 * Not inline, since mostly there is nothing to wait for.
 */
static __attribute__((noinline)) int await_completions(struct vdm_ring *ring, unsigned count,
						       const struct timespec *timeout)
{
	const uint32_t most = ring_unseen(ring) + outstanding(ring);
	struct wait wait = {.count = count, .timed = timeout != NULL, .eager = begins_eager(ring)};
	int result = 0;

	if (count > most)
		return fail(-EINVAL,
			    "cannot wait for %u completions: %u operations are unseen or in flight "
			    "(has the batch been submitted?)",
			    count, most);
	ring->patience_ms = patience_ms(ring, timeout);
	for (unsigned turn = 1; !result; turn++) {
		bool took = wait_take_back(ring, &wait);

		if (took)
			ring_look_for_hangup(ring);
		if (ring_unseen(ring) < count)
			ring_progress(ring);
		if (ring_unseen(ring) >= count)
			break;
		if (took && !timeout)
			continue;
		if (!took && turn % SPINS_PER_CLOCK != 0 && ring->spin_us > 0)
			cpu_relax();
		else
			result = wait_pause(ring, &wait, timeout);
	}
	ring->patience_ms = 0;
	return result;
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
		return fail(-EINVAL,
			    "%lld s and %ld ns is not a timeout: seconds are from 0, nanoseconds "
			    "from 0 to 999999999",
			    (long long)timeout->tv_sec, timeout->tv_nsec);
	/* what a lost daemon has left is for await_completions(), which is patient */
	if (ring_unseen(ring) < count && ring->again == 0)
		ring_progress(ring);
	if (ring_unseen(ring) < count)
		result = await_completions(ring, count, timeout);
	if (ring->poll_fd >= 0)
		ring_eventfd_after_wait(ring, result ? 0 : count);
	if (!result)
		ring_list_unseen(ring, cqes, count);
	return result;
}
