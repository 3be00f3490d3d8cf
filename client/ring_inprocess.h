/* SPDX-License-Identifier: BSD-3-Clause */
/* Rings that an engine of this process serves. */
#ifndef VDM_CLIENT_RING_INPROCESS_H
#define VDM_CLIENT_RING_INPROCESS_H

#include <stdint.h>

#include "engine/engine.h"
#include "libvdm/ring.h"

/*
 * Every operation goes to the engine, whatever its size and wherever its memory lies. `memory` is
 * flat. Engine, account and memory have to outlive the ring.
 */
int ring_open_inprocess(struct engine *engine, struct engine_account *account,
			struct engine_memory *memory, uint32_t entries, uint32_t spin_us,
			struct vdm_ring **ring);

#endif
