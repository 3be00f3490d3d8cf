/* SPDX-License-Identifier: BSD-3-Clause */
#include "file_requests.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "op/files.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t completed = PTHREAD_COND_INITIALIZER;

static void on_completed(struct backend_request *request)
{
	struct waiting *waiting = request->owner;

	pthread_mutex_lock(&mutex);
	waiting->complete = true;
	pthread_cond_broadcast(&completed);
	pthread_mutex_unlock(&mutex);
}

void request_begin(struct waiting *waiting, struct backend *backend,
		   const struct operation *operation)
{
	*waiting = (struct waiting){.operation = *operation,
				    .request = {.length = operation->length,
						.completed = on_completed,
						.owner = waiting}};
	waiting->operation.facts = opcode_facts[operation->opcode];
	waiting->request.operation = &waiting->operation;
	assert_true(backend->supports(backend, &waiting->operation));

	int result = backend->submit(backend, &waiting->request);

	if (result != -EINPROGRESS) {
		assert_int_equal(result, 0);
		waiting->complete = true;
	}
}

int request_await(struct waiting *waiting)
{
	pthread_mutex_lock(&mutex);
	while (!waiting->complete)
		pthread_cond_wait(&completed, &mutex);
	pthread_mutex_unlock(&mutex);
	return waiting->request.error;
}

int file_of(size_t bytes)
{
	char name[] = "./files-XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC);

	assert_true(fd >= 0);
	unlink(name);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

char *file_add(struct files *files, int fd, uint64_t offset, uint64_t length, unsigned flags)
{
	void *base = NULL;

	assert_int_equal(files_add(files, dup(fd), offset, length, flags, &base), 0);
	assert_non_null(base);
	return base;
}
