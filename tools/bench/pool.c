/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What programs do without a daemon: threads take jobs from a list behind a mutex, a condition
 * variable wakes them, and the submitter polls a flag in each job. The caller owns the jobs, so
 * that nothing is allocated. A thread is signalled only when one sleeps.
 */
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct pool_job *head, **tail;
	unsigned sleepers;
	int stopping;
	int cpu;
	unsigned count;
	pthread_t threads[];
};

static void *pool_thread(void *argument)
{
	struct pool *pool = argument;

	pin_to_cpu(pool->cpu);
	pthread_mutex_lock(&pool->lock);
	for (;;) {
		while (!pool->head && !pool->stopping) {
			pool->sleepers++;
			pthread_cond_wait(&pool->work, &pool->lock);
			pool->sleepers--;
		}
		struct pool_job *job = pool->head;

		if (!job)
			break;
		pool->head = job->next;
		if (!pool->head)
			pool->tail = &pool->head;
		pthread_mutex_unlock(&pool->lock);
		memcpy(job->dest, job->src, job->length);
		/* Pairs with the acquire in pool_wait(). */
		atomic_store_explicit(&job->done, 1, memory_order_release);
		pthread_mutex_lock(&pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

struct pool *pool_start(unsigned threads, int first_cpu)
{
	struct pool *pool = calloc(1, sizeof *pool + threads * sizeof pool->threads[0]);

	if (!pool)
		bench_fail("pool", "out of memory");
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pool->tail = &pool->head;
	pool->cpu = first_cpu;
	for (; pool->count < threads; pool->count++)
		if (pthread_create(&pool->threads[pool->count], NULL, pool_thread, pool))
			bench_fail("pool", "no thread could be started");
	return pool;
}

void pool_submit(struct pool *pool, struct pool_job *job)
{
	atomic_store_explicit(&job->done, 0, memory_order_relaxed); /* published by the mutex */
	job->next = NULL;
	pthread_mutex_lock(&pool->lock);
	*pool->tail = job;
	pool->tail = &job->next;
	if (pool->sleepers)
		pthread_cond_signal(&pool->work);
	pthread_mutex_unlock(&pool->lock);
}

void pool_wait(struct pool_job *job)
{
	/* Pairs with the release in pool_thread(). */
	while (!atomic_load_explicit(&job->done, memory_order_acquire))
		spin_pause();
}

void pool_stop(struct pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->stopping = 1;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->count; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}
