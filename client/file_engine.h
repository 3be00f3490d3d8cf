/* SPDX-License-Identifier: BSD-3-Clause */
/* What carries out a client's operations on files: an engine of this process. */
#ifndef VDM_CLIENT_FILE_ENGINE_H
#define VDM_CLIENT_FILE_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "engine/engine.h"

struct files;
struct vdm_ring;

struct file_engine {
	struct files *files;
	struct engine *engine;
	struct engine_account *account;
	struct engine_memory *memory; /* flat */
	/* Rings that the engine serves, each the file lane of another ring, the newest first.
	 * Guarded by the connection's `lock`. */
	LIST_HEAD(, vdm_ring) lanes;
	uint64_t lanes_opened; /* so far; guarded as the list is */
	/* A sync of one of the files has failed, by the engine or the filer: from now on, the
	 * engine makes all. relaxed: see note_failure() of file_lane.c */
	_Atomic bool sync_failed;
};

/* Returns 0 or a negative errno with its sentence. */
int file_engine_new(struct file_engine **engine);

/* There are no lanes, and all files have been removed. */
void file_engine_delete(struct file_engine *engine);

#endif
