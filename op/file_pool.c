/* SPDX-License-Identifier: BSD-3-Clause */
#include "file_pool.h"

#include <signal.h>

void file_pool_init(struct file_pool *pool, unsigned most,
		    void (*finished)(void *context, struct file_work *work), void *context)
{
	*pool = (struct file_pool){.most = most < FILE_POOL_MOST ? most : FILE_POOL_MOST,
				   .finished = finished,
				   .context = context};
	STAILQ_INIT(&pool->works);
	pthread_mutex_init(&pool->mutex, NULL);
	pthread_cond_init(&pool->arrived, NULL);
}

static struct file_work *next(struct file_pool *pool)
{
	struct file_work *work;

	pool->idle++;
	while (STAILQ_EMPTY(&pool->works) && !pool->stopping)
		pthread_cond_wait(&pool->arrived, &pool->mutex);
	pool->idle--;
	work = STAILQ_FIRST(&pool->works);
	if (work) {
		STAILQ_REMOVE_HEAD(&pool->works, entry);
		pool->queued--;
	}
	return work;
}

static void *pool_main(void *argument)
{
	struct file_pool *pool = argument;
	struct file_work *work;

	pthread_setname_np(pthread_self(), "vdm-files");
	pthread_mutex_lock(&pool->mutex);
	while ((work = next(pool))) {
		pthread_mutex_unlock(&pool->mutex);
		file_work_run(work);
		pool->finished(pool->context, work);
		pthread_mutex_lock(&pool->mutex);
	}
	pthread_mutex_unlock(&pool->mutex);
	return NULL;
}

/* Without signals, which are the program's. Returns 0 or a negative errno. */
static int start_thread(struct file_pool *pool)
{
	sigset_t all, before;
	int result;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	result = pthread_create(&pool->thread[pool->threads], NULL, pool_main, pool);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (result == 0)
		pool->threads++;
	return -result;
}

int file_pool_push(struct file_pool *pool, struct file_work *work)
{
	int result = 0;

	pthread_mutex_lock(&pool->mutex);
	/* an idle thread counts until it has taken something */
	if (pool->idle <= pool->queued && pool->threads < pool->most) {
		result = start_thread(pool);
		if (pool->threads > 0)
			result = 0; /* the others will come to it */
	}
	if (!result) {
		STAILQ_INSERT_TAIL(&pool->works, work, entry);
		pool->queued++;
		pthread_cond_signal(&pool->arrived);
	}
	pthread_mutex_unlock(&pool->mutex);
	return result;
}

void file_pool_destroy(struct file_pool *pool)
{
	pthread_mutex_lock(&pool->mutex);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->arrived);
	pthread_mutex_unlock(&pool->mutex);
	for (unsigned i = 0; i < pool->threads; i++)
		pthread_join(pool->thread[i], NULL);
	pthread_cond_destroy(&pool->arrived);
	pthread_mutex_destroy(&pool->mutex);
}
