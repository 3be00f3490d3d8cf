/* SPDX-License-Identifier: BSD-3-Clause */
/* What is in flight: operations that have been published and whose completions have not been
 * reaped. */
#ifndef VDM_CLIENT_RING_FLIGHT_H
#define VDM_CLIENT_RING_FLIGHT_H

#include "ring.h"

/* Collect the completions that are there. */
void ring_reap(struct vdm_ring *ring);

/* Have what is in flight complete with -ENOTCONN. */
void ring_fail_all(struct vdm_ring *ring);

#endif
