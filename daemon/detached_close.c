/* SPDX-License-Identifier: BSD-3-Clause */
#include "detached_close.h"

#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "detached_thread.h"

/* The thread's copy of the table; the thread frees it. */
struct table_copy {
	sem_t copied, closed;
	int error; /* of unshare(2); read between the two */
	unsigned count;
	int fds[]; /* ascending */
};

static void wait_for(sem_t *semaphore)
{
	while (sem_wait(semaphore) < 0)
		; /* EINTR */
}

/*
 * Close all other descriptors of the copy, which would otherwise stay open for as long as these
 * take.
 */
static void close_others(const struct table_copy *copy)
{
	unsigned next = 0;

	for (unsigned i = 0; i < copy->count; i++) {
		const unsigned fd = (unsigned)copy->fds[i];

		if (fd > next)
			syscall(SYS_close_range, next, fd - 1, 0);
		next = fd + 1;
	}
	syscall(SYS_close_range, next, ~0u, 0);
}

static void *hold_copy(void *argument)
{
	struct table_copy *copy = argument;
	const int error = unshare(CLONE_FILES) < 0 ? -errno : 0;

	copy->error = error;
	sem_post(&copy->copied);
	wait_for(&copy->closed);
	if (!error)
		close_others(copy);
	sem_destroy(&copy->copied);
	sem_destroy(&copy->closed);
	free(copy);
	return NULL; /* the kernel closes the rest */
}

static int ascending(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

int detached_close(int *fds, unsigned count)
{
	struct table_copy *copy = calloc(1, sizeof *copy + count * sizeof *fds);

	if (!copy)
		return -ENOMEM;
	qsort(fds, count, sizeof *fds, ascending);
	memcpy(copy->fds, fds, count * sizeof *fds);
	copy->count = count;
	sem_init(&copy->copied, 0, 0);
	sem_init(&copy->closed, 0, 0);

	int result = detached_thread_start(hold_copy, copy);

	if (result) {
		sem_destroy(&copy->copied);
		sem_destroy(&copy->closed);
		free(copy);
		return result;
	}
	wait_for(&copy->copied);
	result = copy->error;
	for (unsigned i = 0; !result && i < count; i++)
		close(fds[i]);
	sem_post(&copy->closed);
	return result;
}
