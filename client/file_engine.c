/* SPDX-License-Identifier: BSD-3-Clause */
#include "file_engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "op/files.h"

void file_engine_delete(struct file_engine *e)
{
	if (e->account)
		engine_account_delete(e->account);
	if (e->memory)
		engine_memory_delete(e->memory);
	engine_delete(e->engine);
	files_delete(e->files);
	free(e);
}

static int start(struct file_engine *e)
{
	const struct files_options how = {0};
	int result = files_new(&how, &e->files);

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
