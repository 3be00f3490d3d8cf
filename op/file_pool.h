/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads that carry out file work, one piece each at a time, and wait for it. */
#ifndef VDM_OP_FILE_POOL_H
#define VDM_OP_FILE_POOL_H

#include <pthread.h>
#include <stdbool.h>

#include "file_work.h"

#define FILE_POOL_MOST 16

struct file_pool {
	pthread_mutex_t mutex;
	pthread_cond_t arrived;
	struct file_works works;
	pthread_t thread[FILE_POOL_MOST];
	unsigned threads, most;
	unsigned idle, queued; /* threads, and works */
	bool stopping;
	void (*finished)(void *context, struct file_work *work); /* called by its threads */
	void *context;
};

/* Of at most so many threads, which are started as they are needed. */
void file_pool_init(struct file_pool *pool, unsigned most,
		    void (*finished)(void *context, struct file_work *work), void *context);

/* Wait for what is in progress, and end the threads. */
void file_pool_destroy(struct file_pool *pool);

/* Returns 0; or a negative errno, and then there is no thread at all for it. */
int file_pool_push(struct file_pool *pool, struct file_work *work);

#endif
