/* SPDX-License-Identifier: BSD-3-Clause */
#include "file_engine.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "fork.h"
#include "op/files.h"

/*
 * What the clients of this process share: after a failed sync of a file no later one may succeed,
 * whichever client asks, for the kernel tells once that it has lost a page.
 */
static struct {
	pthread_mutex_t mutex;
	struct files *files; /* NULL: none has been made, or it is a parent's */
	unsigned users;
	uint32_t epoch; /* in which it was made */
} shared = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static int get_files(struct files **files)
{
	const struct files_options how = {0};
	int result = 0;

	pthread_mutex_lock(&shared.mutex);
	if (shared.files && fork_happened(shared.epoch)) {
		shared.files = NULL; /* its threads are the parent's */
		shared.users = 0;
	}
	if (!shared.files)
		result = files_new(&how, &shared.files);
	if (!result) {
		shared.epoch = fork_epoch();
		shared.users++;
		*files = shared.files;
	}
	pthread_mutex_unlock(&shared.mutex);
	return result;
}

static void put_files(const struct files *files)
{
	pthread_mutex_lock(&shared.mutex);
	if (files && files == shared.files && --shared.users == 0) {
		files_delete(shared.files);
		shared.files = NULL;
	}
	pthread_mutex_unlock(&shared.mutex);
}

void file_engine_delete(struct file_engine *e)
{
	if (e->account)
		engine_account_delete(e->account);
	if (e->memory)
		engine_memory_delete(e->memory);
	engine_delete(e->engine);
	put_files(e->files);
	free(e);
}

static int start(struct file_engine *e)
{
	int result = get_files(&e->files);

	if (result)
		return result;

	/* The worker only hands operations on; what it carries out itself is what chains have
	 * beside them. */
	const struct engine_options options = {.workers = 1,
					       .spin_us = ENGINE_DEFAULT_SPIN_US,
					       .backend = files_backend(e->files)};

	result = engine_new(&options, &e->engine);
	if (!result)
		result = engine_account_new(e->engine, &e->account);
	if (!result)
		result = engine_memory_new(e->engine, 0, &e->memory);
	return result;
}

int file_engine_new(struct file_engine **engine)
{
	struct file_engine *e = calloc(1, sizeof *e);

	if (!e)
		return fail(-ENOMEM, "out of memory");
	LIST_INIT(&e->lanes);

	int result = start(e);

	if (result) {
		file_engine_delete(e);
		return fail(result, "cannot start what carries out operations on files: %s",
			    strerror(-result));
	}
	*engine = e;
	return 0;
}
