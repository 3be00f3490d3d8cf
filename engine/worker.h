/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef VDM_ENGINE_WORKER_H
#define VDM_ENGINE_WORKER_H

/* What a worker thread runs: a struct worker. */
void *worker_main(void *worker);

#endif
