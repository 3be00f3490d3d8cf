/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine's own structures. One lock guards them all. Who holds it polls the rings; a worker lets go
 * of it while it moves bytes or signals, so it is contended only by those who have nothing to copy.
 */
#ifndef VDM_ENGINE_INTERNAL_H
#define VDM_ENGINE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "engine.h"
#include "guard.h"
#include "op/operation.h"
#include "proto/ring.h"

/* An operation that is cut into pieces. Guarded by the lock. */
struct job {
	struct operation operation;
	struct engine_queue *queue;
	size_t given;       /* bytes handed out to workers so far */
	unsigned running;   /* pieces that workers are moving now */
	bool serial;        /* pieces have to follow each other: the ranges overlap */
	bool backward;      /* and from the end to the beginning */
	bool closed;        /* no further piece is handed out */
	int32_t error;      /* 0, or why it was closed early */
	struct job *next;   /* in the queue's list of free or of finished jobs */
};

struct engine_queue {
	struct engine *engine;
	struct engine_account *account;
	struct engine_memory *memory;
	const struct vdm_descriptor *descriptors; /* written by the producer */
	const struct vdm_client_line *client_line;
	struct vdm_completion *completions;       /* written here */
	struct vdm_daemon_line *daemon_line;
	uint32_t entries;
	uint32_t head;          /* position of the next descriptor to take */
	uint32_t tail;          /* position of the next completion to post */
	uint32_t signalled;     /* last value of client_line->arm that was answered */
	uint32_t unsignalled;   /* how often it was tried in vain to answer the one after it */
	enum engine_priority priority;
	int64_t credit;         /* bytes that it may still move in its turn */

	/* Guarded by the lock: */
	TAILQ_ENTRY(engine_queue) entry; /* in queues_like(), while polled */
	bool polled;
	bool busy;              /* a worker runs a batch of it without the lock, and owns all above */
	bool broken;            /* the producer broke the protocol: take nothing more */
	bool removed;           /* engine_queue_remove() waits: take nothing more */
	bool retiring;          /* it is being announced that nobody looks at it */
	bool touched;           /* served since the last look at the clock */
	uint64_t quiet_since;   /* ns, CLOCK_MONOTONIC */
	unsigned impatience;    /* it is polled for spin_us >> impatience */
	uint32_t retirements;   /* times that it left the polled ones; the value of doorbell_wanted */
	uint32_t slot;          /* in engine->queues */

	bool holding;           /* `held` has been taken, and waits for earlier ones to complete */
	bool chained;           /* the operation taken last had VDM_DESCRIPTOR_LINK */
	bool chain_failed;      /* the last linked operation that completed had failed */
	struct operation held;
	struct job *handing_out;/* has pieces left */
	struct job *finished;   /* to be completed by the worker that owns the queue */
	struct job *free_jobs;
	unsigned jobs_active;
	struct job *jobs;       /* all of them */

	/* Written by who owns the queue, read by anyone. */
	_Atomic uint64_t operations[VDM_OPCODE_COUNT];
	_Atomic uint64_t failed;
	_Atomic uint64_t bytes;
	_Atomic uint32_t in_flight;

	int doorbell_fd;
	int signal_fd;
	void (*violated)(void *context, const char *reason);
	void (*over_limit)(void *context);
	void *context;
};

/* In epoll data, where a queue's slot would be: the engine's own eventfd. */
#define KICK_SLOT UINT32_MAX

/* Lists by priority: the highest is the first. */
#define PRIORITIES (ENGINE_PRIORITY_HIGH - ENGINE_PRIORITY_LOW + 1)

#define ORDINARY_WEIGHT 100

TAILQ_HEAD(queue_list, engine_queue);
TAILQ_HEAD(account_list, engine_account);

struct engine_account {
	struct engine *engine;
	TAILQ_ENTRY(engine_account) entry; /* in accounts_like(), while it has polled queues */
	struct queue_list queues[PRIORITIES]; /* polled */
	unsigned polled;                   /* how many */
	unsigned weight;
	enum engine_priority priority;
	/* of jobs; relaxed: it is a sum and orders nothing. Partners: job_begin(), queue_finish_jobs() */
	_Atomic uint64_t in_flight, most_in_flight;
	uint64_t served;                   /* bytes, by weight; see scheduler.c */
	unsigned stuck;                    /* workers that are aside for it: until they are back it is not polled */
};

/* What a worker looks at while it moves a piece: where others would submit, and had not. See watch.c. */
#define WATCHED 16
struct watch {
	/* written by the worker, which holds the lock */
	unsigned count;
	struct watched {
		const struct engine_queue *queue; /* to be compared only */
		const struct vdm_descriptor *slot;
		uint32_t position, entries;
	} watched[WATCHED];
	_Atomic bool revoked, looking; /* partners: watch_wanted(), watch_revoke() */
};

struct worker {
	_Alignas(VDM_CACHE_LINE) struct engine *engine; /* no line is written by two workers */
	pthread_t thread;
	unsigned index;
	struct guard guard;
	struct operation operation;  /* of the batch; here so that it survives a siglongjmp() */
	struct engine_queue *batch;  /* whose batch is being run, or NULL */
	struct job *job;             /* whose piece is being moved, or NULL */
	size_t cost;                 /* of the batch, before that operation; the same */
	bool unlocked;               /* the batch is run without the lock */
	struct engine_queue *serving;/* something of it is done without the lock; NULL: nothing. Guarded by the lock */
	size_t whole;                /* operations of the batch that are larger are cut up */
	struct kernels kernels;      /* the engine's when the batch or piece began */
	_Atomic uint64_t steps;      /* relaxed; partner: engine_healthy() */
	_Atomic bool asleep;         /* relaxed; the same */
	uint64_t steps_seen;         /* engine_healthy()'s */
	pid_t thread_id;             /* as the kernel has it; guarded by the lock */
	struct watch watch;          /* while it moves a piece */
	uint64_t steps_watched;      /* supervisor.c's */
	/* another has taken its place; written holding the lock, relaxed; partner: engine_healthy() */
	_Atomic bool aside;
};

struct queue_slot {
	struct engine_queue *queue; /* NULL: free */
	uint32_t generation;
};

struct engine {
	pthread_mutex_t lock;
	_Atomic unsigned contenders;   /* threads that wait for the lock; partner: breathe() */
	pthread_cond_t surplus;        /* workers that found nothing to do wait here */
	pthread_cond_t progress;       /* who waits for workers to let go of something */
	unsigned observers;            /* of `progress`, since they were last told */
	uint64_t told;                 /* how often they were */
	bool watcher_wants_to_know;    /* the same: who calls engine_supervise() */
	bool progress_made;            /* to be said by engine_supervise() */

	struct account_list accounts[PRIORITIES]; /* that have polled queues */
	uint64_t served[PRIORITIES];   /* what the account had been served that was picked last */
	unsigned accounts_polled;
	unsigned queues_polled;
	struct queue_slot *queues;
	uint32_t slots;
	uint32_t queues_added;

	struct kernels kernels;        /* own: they are given whole operations */
	bool pin;                      /* bind workers to CPUs */
	_Atomic uint32_t spin_us;
	uint64_t doorbells_looked;     /* ns at the last look at the doorbells */
	unsigned until_clock;          /* steps until the next look at the clock */
	uint64_t backlog;              /* bytes served since a worker last found nothing to do */

	bool may_watch;                /* other threads of this process can be made to pass a barrier */
	int epoll_fd;                  /* doorbells of the queues that are not polled */
	int kick_fd;                   /* wakes who sleeps on them */
	int watch_fd;                  /* timer: look after the workers; -1: nobody does */
	bool watching;                 /* it is set */
	unsigned workers;              /* that are to run */
	unsigned running;              /* that do: neither aside nor on the bench */
	unsigned threads, most_threads;/* with the spare ones; changed by who creates them alone */
	pthread_cond_t bench;          /* spare workers wait here */
	unsigned benched;
	unsigned called;               /* of them, how many are to get up */
	unsigned awake;
	bool sentinel;                 /* a worker sleeps on the doorbells; one is enough */
	unsigned moving;               /* workers that run something without the lock */
	unsigned parked;               /* waiting for `surplus` */
	unsigned summons;              /* of them, how many are to get up */
	_Atomic uint64_t wakeups;
	bool stopping;
	struct worker worker[];
};

/* In engine.c: take the lock from a thread that is not a worker, and give it back. */
void engine_lock(struct engine *engine);
void engine_unlock(struct engine *engine);

/* Holding the lock: wait until a worker has let go of something; or not, and have engine_supervise() say when one has.
 * Returns whether it has waited. */
bool engine_let_go_of(struct engine *engine, bool wait);

/* Tell those who want to know that a worker has let go of the queue; who calls engine_supervise() only if somebody waits for
 * just that: the worker of another client may keep him waiting for as long as that likes. Holding the lock. */
void engine_tell_progress(struct worker *worker, const struct engine_queue *queue);

/* Wake who sleeps on the doorbells. */
void engine_kick(struct engine *engine);

/* queue.c: the consumer's side of a ring. By who owns the queue. */
bool queue_ready(struct engine_queue *queue);
/* Where its producer would submit, if the queue is ready as soon as he does. */
bool queue_waits_for_producer(const struct engine_queue *queue, struct watched *watched);
/* Execute up to a batch of small operations; a large one is left in queue->handing_out. What they cost, in bytes, is
 * counted in worker->cost. */
void queue_batch(struct engine_queue *queue, struct worker *worker);
/* Post the completion of an operation. */
void queue_complete(struct engine_queue *queue, const struct operation *operation, int32_t error);
/* Post the completions of finished jobs, unless somebody else owns the queue; whether there were any. Holding
 * the lock. */
bool queue_finish_jobs(struct engine_queue *queue);
/* Signal if the client has asked for it; whether it has. By who owns the queue, and by workers without the lock:
 * how long it takes to wake who waits is up to the client. */
bool queue_signal(struct engine_queue *queue);

/* job.c: operations that are cut into pieces. All holding the lock, except job_begin(). */
struct piece {
	struct job *job;
	size_t offset;
	size_t length;
	size_t given; /* of the job, with this piece */
};
/* Returns 0, or -EDQUOT: its account has too many bytes in flight. */
int job_begin(struct engine_queue *queue, const struct operation *operation);
struct piece job_take_piece(struct engine_queue *queue, size_t most);
/* Have what comes after the first `done` bytes moved later; or not, and then it has to be moved now. */
bool job_return_rest(const struct piece *piece, size_t done);
void job_piece_done(struct job *job, int32_t error);
/* Hand out nothing more of the queue's job, which fails with `error`. The queue must not be busy. */
void job_cancel(struct engine_queue *queue, int32_t error);

/* watch.c: noticing, while a piece is moved, that another account wants something. */
/* Holding the lock: begin to. False: it cannot be noticed of all of them, or one waits for its turn already. */
bool watch_others(struct worker *worker, const struct engine_account *account);
/* By the worker, without the lock: whether one wants something now. */
bool watch_wanted(struct worker *worker);
/* Holding the lock: nobody looks at the queue's memory from now on. 0, or -EAGAIN: somebody is doing it. */
int watch_revoke(struct engine *engine, const struct engine_queue *queue);

/* supervisor.c: workers that a client keeps waiting, and who takes their place. All holding the lock. */
int supervisor_open(struct engine *engine);
/* A worker has got up: have it looked after. */
void supervisor_watch(struct engine *engine);
/* Have engine_supervise() called at once. */
void supervisor_call(struct engine *engine);
/* Whether there are more workers than there should be, now that one has come back. */
bool supervisor_has_surplus(const struct engine *engine);
void supervisor_sit_down(struct worker *worker);
/* The worker was aside, and has come back. */
void supervisor_come_back(struct worker *worker);

/* engine.c: start one more worker, which counts as running. Returns 0 or a negative errno. */
int engine_start_worker(struct engine *engine);

/* scheduler.c: whose turn it is. Holding the lock. */
struct engine_queue *scheduler_pick(struct engine *engine);
void scheduler_charge(struct engine_queue *queue, size_t cost);
void scheduler_refund(struct engine_queue *queue, size_t cost);
void scheduler_poll(struct engine_queue *queue, uint64_t now);
void scheduler_unpoll(struct engine_queue *queue);
void scheduler_set_priority(struct engine_account *account, enum engine_priority priority);
/* It is nobody's turn of this account, and its queues are not among the polled ones; and again. */
void scheduler_suspend(struct engine_account *account);
void scheduler_resume(struct engine_account *account);
/* Move the queues that have been quiet for a while to the doorbells. (A worker that has been preempted for that long
 * finds all of them quiet, and gives the CPU up to who wanted it.) */
void scheduler_retire_quiet(struct engine *engine, uint64_t now);

/* worker.c */
void *worker_main(void *worker);

/* A batch ends after so many operations or bytes. */
#define BATCH_OPERATIONS 32
#define BATCH_BYTES      (16 * 1024)

/* Larger operations are cut up, into pieces of a size that depends on who may be waiting: another user should hardly
 * notice (0.5 us at 16 GB/s, about as long as the trip to the daemon and back), other rings of the same user may notice
 * (4 us, and users who have nothing to submit before), and alone longer pieces cost less: taking one is two
 * system-call-free lock operations, and what has been stored around the cache is waited for, 150 ns. */
#define PIECE_OTHERS ((size_t)8 << 10)
#define PIECE_SHARED ((size_t)64 << 10)
#define PIECE_ALONE  ((size_t)512 << 10)

static inline size_t piece_size(const struct engine *engine)
{
	return engine->accounts_polled > 1 ? PIECE_OTHERS
	       : engine->queues_polled > 1 ? PIECE_SHARED
					   : PIECE_ALONE;
}

/* What an operation costs at least, in bytes: about the time to move it rather than its bytes. */
#define OPERATION_COST 256

/* A doorbell that has been rung: finding it, and taking its queue in. */
#define DOORBELL_COST 2048

/* And a page that is not there: the fault, the signal and the way back take some 5 us. */
#define FAULT_COST ((size_t)64 << 10)

#endif
