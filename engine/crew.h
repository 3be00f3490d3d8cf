/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The crew: the worker threads and the lock that they share. The worker that holds the lock polls
 * the rings. It gives the lock up while it moves bytes or signals, so that only workers with
 * nothing to copy contend for it. With the lock held, no thread makes a system call that a client
 * could make slow.
 */
#ifndef VDM_ENGINE_CREW_H
#define VDM_ENGINE_CREW_H

#include <pthread.h>

#include "op/backend_cpu.h"
#include "peek.h"
#include "queue.h"

enum worker_state {
	WORKER_CALLED,    /* to get up: a new thread, or one that was parked or on the bench */
	WORKER_POLLING,   /* holds the lock or takes turns at it: looks for something to do */
	WORKER_SERVING,   /* does something for worker->serving without the lock */
	WORKER_STUCK,     /* serves, but waits in the kernel for a page of the client's: replaced */
	WORKER_PARKED,    /* sleeps until it is called, while another worker polls */
	WORKER_DOORBELLS, /* sleeps on the doorbells of all rings; one at most does */
	WORKER_BENCHED,   /* a spare one, which sleeps until it is called to replace a stuck one */
	WORKER_STATES
};

struct crew;

struct worker {
	_Alignas(VDM_CACHE_LINE) struct crew *crew; /* no line is written by two workers */
	pthread_t thread;
	unsigned index;

	/* relaxed; written with the crew's lock held, by crew_set_state() alone; partner:
	 * crew_is_healthy() */
	_Atomic enum worker_state state;
	pthread_cond_t call; /* it is WORKER_CALLED */
	int stat_fd; /* supervisor_reserve_stats(), or -1. This and what follows: the crew's lock */
	struct engine_queue *serving; /* something is done for it without the lock, or NULL */
	uint64_t steps_supervised;    /* steps at the supervisor's last look */
	bool suspect;                 /* it may be stuck. The supervising thread's */

	/* Its own while it serves: */
	struct batch batch;
	struct engine_queue *in_batch; /* whose batch is being run, or NULL */
	bool leases;                   /* that queue: the batch is run without the lock */
	struct piece piece; /* that is being carried out; its flight is NULL if there is none */
	struct backend_request request; /* for that piece */
	struct cpu_backend cpu;         /* the engine's, as of the piece's begin */
	struct peek peek;               /* while it moves that piece */

	/* relaxed, one writer; partners: crew_is_healthy(), the supervisor */
	_Atomic uint64_t steps;
	uint64_t steps_seen; /* at the last crew_is_healthy(), whose caller's it is */
};

struct crew {
	pthread_mutex_t lock;
	_Atomic unsigned contenders;     /* threads that wait for it; partner: crew_yield_lock() */
	_Atomic unsigned yields_in_vain; /* since they had it; relaxed: a hint */
	struct wait peeks;               /* for workers to stop looking at something */
	unsigned started;                /* threads that have come as far as their loop */
	struct wait starts;              /* for those */

	unsigned in[WORKER_STATES]; /* how many workers are in each state */
	unsigned workers;           /* how many are to run */
	unsigned threads; /* with the spare ones; written by the thread that starts workers */
	unsigned most_threads;
	bool pin;      /* bind workers to CPUs */
	bool may_peek; /* a barrier can be passed for the threads of this process */
	bool stopping;
	/* relaxed: a sum, written with the lock held; partner: any reader */
	_Atomic uint64_t wakeups;

	void *(*main)(void *worker); /* what a worker runs */
	struct worker *worker;       /* most_threads of them */
};

/* `workers` run main() once they are started, at most `most_threads` with spare ones. 0 or
 * -ENOMEM. */
int crew_init(struct crew *crew, unsigned workers, unsigned most_threads, bool pin,
	      void *(*main)(void *worker));

/* Wait until all workers have ended, and free what crew_init() made. */
void crew_join(struct crew *crew);
void crew_free(struct crew *crew);

/* Start one more worker. By one thread at a time, without the lock. Returns 0 or a negative
 * errno. */
int crew_start_worker(struct crew *crew);

/* Take the lock from a thread that does not poll, and give it back. */
void crew_lock(struct crew *crew);
void crew_unlock(struct crew *crew);

/* All that follow are called with the lock held, unless they say otherwise. */

/* Let the threads that wait for the lock have it: a worker that polls would not give it up
 * otherwise. */
void crew_yield_lock(struct crew *crew);

/* Have all workers end. One that sleeps on the doorbells is the caller's to wake. */
void crew_stop(struct crew *crew);

/* Derived from the states: workers that do not sleep, and workers that neither are replaced nor
 * spare. */
static inline unsigned crew_awake(const struct crew *crew)
{
	return crew->in[WORKER_POLLING] + crew->in[WORKER_SERVING];
}

static inline unsigned crew_running(const struct crew *crew)
{
	return crew->threads - crew->in[WORKER_STUCK] - crew->in[WORKER_BENCHED];
}

static inline bool worker_is(const struct worker *worker, enum worker_state state)
{
	/* relaxed: written with the lock held, which the caller holds too */
	return atomic_load_explicit(&worker->state, memory_order_relaxed) == state;
}

/* The only place where the state of a worker changes. */
void crew_set_state(struct worker *worker, enum worker_state state);

/* By a worker: sleep in that state until it is called, or the crew is stopping. It polls on
 * return. */
void crew_sleep(struct worker *worker, enum worker_state state);

/* Call one worker that sleeps in that state. Returns whether there was one. */
bool crew_call(struct crew *crew, enum worker_state state);

/* Wait until all threads are in their loops: they open no more descriptors. */
void crew_await_starts(struct crew *crew);

/* Wait until a worker lets go of something; a worker has. */
void crew_await_progress(struct crew *crew, struct wait *wait);
void crew_tell_progress(struct crew *crew, struct wait *wait) __attribute__((cold));

/* Have no worker peek at the queue's memory from now on. Returns 0, or -EAGAIN while one is doing
 * so: crew->peeks waits for that. */
int crew_stop_peeking(struct crew *crew, const struct engine_queue *queue);

/*
 * Whether each worker has made progress since the last call, or sleeps, or was found stuck: then
 * `waits` tells whether its thread still waits in the kernel. By one thread, without the lock.
 */
bool crew_is_healthy(struct crew *crew, bool (*waits)(int stat_fd));

#endif
