/* SPDX-License-Identifier: BSD-3-Clause */
/* Waking: an operation that finds the daemon asleep, against two threads that wake each other by
 * futex(2). */
#include "bench.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct pair {
	_Atomic uint32_t ball; /* odd: the other's turn */
	int cpu;
	unsigned rounds;
};

/* Sleep until the word is no longer `value`. The other thread wakes this one. */
static void wait_while(struct pair *pair, uint32_t value)
{
	while (atomic_load_explicit(&pair->ball, memory_order_acquire) == value)
		syscall(SYS_futex, &pair->ball, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void pass(struct pair *pair)
{
	atomic_fetch_add_explicit(&pair->ball, 1, memory_order_release);
	syscall(SYS_futex, &pair->ball, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *other_side(void *argument)
{
	struct pair *pair = argument;

	pin_to_cpu(pair->cpu);
	for (unsigned i = 0; i < pair->rounds; i++) {
		wait_while(pair, 2 * i);
		pass(pair);
	}
	return NULL;
}

/* Long enough for the other side to have gone to sleep, and its CPU with it. */
static void let_sleep(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static double futex_rtt(struct bench *bench, uint64_t *ns, unsigned rounds)
{
	struct pair pair = {.cpu = bench->worker_cpu, .rounds = rounds};
	pthread_t thread;

	if (pthread_create(&thread, NULL, other_side, &pair))
		bench_fail("wake", "no thread can be started");
	for (unsigned i = 0; i < rounds; i++) {
		let_sleep();
		uint64_t begin = now_ns();

		pass(&pair);
		wait_while(&pair, 2 * i + 1);
		ns[i] = now_ns() - begin;
	}
	pthread_join(thread, NULL);
	sort_samples(ns, rounds);
	return (double)percentile(ns, rounds, 500);
}

static double daemon_rtt(struct bench *bench, uint64_t *ns, unsigned rounds)
{
	const struct vdm_options options = {.size = sizeof options, .spin_us = VDM_NO_SPIN};
	struct vdm_ring *ring;
	struct vdm_cqe *cqe;

	if (vdm_ring_open(bench->client, &options, &ring))
		bench_fail("wake", vdm_last_error());
	for (unsigned i = 0; i < rounds; i++) {
		let_sleep();
		uint64_t begin = now_ns();

		vdm_prep_nop(vdm_ring_get_sqe(ring));
		vdm_ring_submit(ring);
		if (vdm_ring_wait_cqe(ring, &cqe))
			bench_fail("wake", vdm_last_error());
		ns[i] = now_ns() - begin;
		vdm_ring_cqe_seen(ring, cqe);
	}
	vdm_ring_close(ring);
	sort_samples(ns, rounds);
	return (double)percentile(ns, rounds, 500);
}

void measure_wake(struct bench *bench)
{
	enum { ROUNDS = 5, MOST = 1000 };
	static uint64_t ns[MOST];
	double futex[ROUNDS], vdm[ROUNDS];
	unsigned rounds = bench->quick ? 150 : MOST;

	for (unsigned i = 0; i < ROUNDS; i++) {
		futex[i] = futex_rtt(bench, ns, rounds);
		vdm[i] = daemon_rtt(bench, ns, rounds);
	}
	json_object("wake");
	json_value("futex_rtt_ns", median(futex, ROUNDS));
	json_value("vdm_rtt_ns", median(vdm, ROUNDS));
	json_object_end();
}
